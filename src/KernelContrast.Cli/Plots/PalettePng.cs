using System.Buffers.Binary;
using System.IO.Compression;

namespace KernelContrast.Cli.Plots;

/// <summary>
/// Writes PNGs with a palette of 256 colours: a third of the size of Skia's for pictures of dots, lines, text and grey
/// images. Photographs need more colours; for those there is none.
/// </summary>
/// <remarks>Format: W3C, "Portable Network Graphics Specification", third edition, sections 5 and 11.</remarks>
internal static class PalettePng
{
    private const int MostColors = 256;
    // Colours that agree in these bits of every channel share a place in the palette.
    private const int KeptBits = 5;
    private const int VisibleDistance = 24;

    /// <summary>Encodes an opaque picture, or returns null when a palette would show: more than 1 % of it in visibly other colours.</summary>
    /// <param name="rgba">[height, width, 4].</param>
    /// <param name="width">Columns.</param>
    /// <param name="height">Rows.</param>
    internal static byte[]? TryEncode(ReadOnlySpan<byte> rgba, int width, int height)
    {
        (byte[] palette, byte[] places, int strayed) = Quantise(rgba);
        if (strayed > width * height / 100) return null;
        var rows = new byte[(width + 1) * height];
        for (int y = 0; y < height; y++)
        {
            // Each row begins with its filter: 0, none, is the best for palettes.
            for (int x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = places[BinOf(rgba.Slice((y * width + x) * 4, 3))];
        }
        using var png = new MemoryStream();
        png.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        Span<byte> header = stackalloc byte[13];
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        // Eight bits per index, colour type 3 (palette), and the only compression, filtering and interlacing for it.
        (header[8], header[9], header[10], header[11], header[12]) = (8, 3, 0, 0, 0);
        Chunk(png, "IHDR"u8, header);
        Chunk(png, "PLTE"u8, palette);
        using (var compressed = new MemoryStream())
        {
            using (var zlib = new ZLibStream(compressed, CompressionLevel.SmallestSize, leaveOpen: true)) zlib.Write(rows);
            Chunk(png, "IDAT"u8, compressed.ToArray());
        }
        Chunk(png, "IEND"u8, []);
        return png.ToArray();
    }

    /// <summary>The most frequent colours, for every bin of colours the nearest of them, and how many pixels are far from theirs.</summary>
    private static (byte[] Palette, byte[] Places, int Strayed) Quantise(ReadOnlySpan<byte> rgba)
    {
        const int Bins = 1 << (3 * KeptBits);
        var count = new int[Bins];
        var sums = new long[Bins * 3];
        for (int i = 0; i < rgba.Length; i += 4)
        {
            int bin = BinOf(rgba.Slice(i, 3));
            count[bin]++;
            for (int c = 0; c < 3; c++) sums[bin * 3 + c] += rgba[i + c];
        }
        int[] used = [.. Enumerable.Range(0, Bins).Where(bin => count[bin] > 0).OrderByDescending(bin => count[bin]).ThenBy(bin => bin)];
        int colors = Math.Min(used.Length, MostColors);
        var palette = new byte[3 * colors];
        for (int i = 0; i < palette.Length; i++) palette[i] = (byte)((double)sums[used[i / 3] * 3 + i % 3] / count[used[i / 3]] + 0.5);
        var places = new byte[Bins];
        int strayed = 0;
        for (int i = 0; i < used.Length; i++)
        {
            if (i < colors) { places[used[i]] = (byte)i; continue; }
            int best = 0, bestDistance = int.MaxValue;
            for (int p = 0; p < colors; p++)
            {
                int distance = 0;
                for (int c = 0; c < 3; c++)
                {
                    int difference = (int)(sums[used[i] * 3 + c] / count[used[i]]) - palette[3 * p + c];
                    distance += difference * difference;
                }
                if (distance < bestDistance) (best, bestDistance) = (p, distance);
            }
            places[used[i]] = (byte)best;
            if (bestDistance > VisibleDistance * VisibleDistance) strayed += count[used[i]];
        }
        return (palette, places, strayed);
    }

    private static int BinOf(ReadOnlySpan<byte> rgb) =>
        rgb[0] >> (8 - KeptBits) << (2 * KeptBits) | rgb[1] >> (8 - KeptBits) << KeptBits | rgb[2] >> (8 - KeptBits);

    /// <summary>Length, type, data, and the CRC of the type and the data.</summary>
    private static void Chunk(Stream png, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        png.Write(number);
        png.Write(type);
        png.Write(data);
        BinaryPrimitives.WriteUInt32BigEndian(number, ~Crc(Crc(uint.MaxValue, type), data));
        png.Write(number);
    }

    private static uint Crc(uint crc, ReadOnlySpan<byte> data)
    {
        foreach (byte b in data)
        {
            crc ^= b;
            for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
        return crc;
    }
}
