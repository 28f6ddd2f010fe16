using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace KernelContrast.Tests;

/// <summary>Writes small PNG files, with honest or lying headers.</summary>
internal static class TestImages
{
    /// <summary>A PNG of interleaved bytes, 1 (grey) or 3 channels; the header may claim another size.</summary>
    internal static byte[] Png(byte[] pixels, int height, int width, int channels, int? claimHeight = null, int? claimWidth = null)
    {
        var rows = new List<byte>();
        for (int y = 0; y < height; y++)
        {
            rows.Add(0);
            rows.AddRange(pixels.AsSpan(y * width * channels, width * channels));
        }
        using var packed = new MemoryStream();
        using (var zlib = new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true)) zlib.Write([.. rows]);
        var header = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, claimWidth ?? width);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), claimHeight ?? height);
        (header[8], header[9]) = (8, (byte)(channels == 1 ? 0 : 2));
        return [0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10,
            .. Chunk("IHDR", header), .. Chunk("IDAT", packed.ToArray()), .. Chunk("IEND", [])];
    }

    private static byte[] Chunk(string type, byte[] data)
    {
        byte[] body = [.. Encoding.ASCII.GetBytes(type), .. data];
        var chunk = new byte[body.Length + 8];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        body.CopyTo(chunk, 4);
        uint crc = ~0u;
        foreach (byte value in body)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? 0xEDB88320u ^ crc >> 1 : crc >> 1;
        }
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(chunk.Length - 4), ~crc);
        return chunk;
    }
}
