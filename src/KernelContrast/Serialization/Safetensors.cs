using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace KernelContrast;

/// <summary>
/// Reads and writes safetensors files: named tensors and text, the format most weights are exchanged in.
/// </summary>
/// <remarks>
/// Eight bytes: the length of the header, little-endian; the header: JSON that gives each tensor's type, shape and
/// place; then the elements, row-major (NCHW for rank 4), little-endian. Format: https://github.com/huggingface/safetensors.
/// </remarks>
public static class Safetensors
{
    /// <summary>Writes tensors in the given order, through a temporary file (<see cref="AtomicFile"/>).</summary>
    /// <param name="path">The file, replaced when it is there.</param>
    /// <param name="tensors">Each name once.</param>
    /// <param name="metadata">Text to keep with them.</param>
    /// <exception cref="ArgumentException">A name comes twice, or is <c>__metadata__</c>, which the format keeps for itself.</exception>
    /// <exception cref="IOException">The file could not be written; what was there before is unchanged.</exception>
    public static void Write(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(tensors);
        List<KeyValuePair<string, Tensor>> all = [.. tensors];
        byte[] header = Header(all, metadata);
        AtomicFile.Write(path, stream =>
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            stream.Write(length);
            stream.Write(header);
            foreach ((_, Tensor tensor) in all) WriteElements(stream, tensor);
        });
    }

    /// <summary>Reads every tensor of a file. The caller owns them.</summary>
    /// <inheritdoc cref="SafetensorsReader(string)" path="/exception"/>
    public static Dictionary<string, Tensor> Read(string path, Device? device = null)
    {
        using var reader = new SafetensorsReader(path);
        var tensors = new Dictionary<string, Tensor>(reader.Entries.Count);
        foreach (SafetensorsEntry entry in reader.Entries) tensors.Add(entry.Name, reader.Read(entry.Name, device));
        return tensors;
    }

    private static byte[] Header(List<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var seen = new HashSet<string>();
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject(MetadataKey);
                foreach ((string key, string value) in metadata) json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach ((string name, Tensor tensor) in tensors)
            {
                if (name == MetadataKey) throw new ArgumentException($"A tensor cannot be named {MetadataKey}: the format keeps that name for its text.");
                if (!seen.Add(name)) throw new ArgumentException($"Two tensors are named '{name}'.");
                json.WriteStartObject(name);
                json.WriteString("dtype", tensor.Type switch { DType.Float32 => "F32", DType.Int32 => "I32", DType.BFloat16 => "BF16", _ => "U8" });
                json.WriteStartArray("shape");
                foreach (int size in tensor.Shape.Sizes) json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.Bytes);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        // Spaces up to a multiple of 8 keep the elements aligned.
        while (buffer.Length % 8 != 0) buffer.WriteByte((byte)' ');
        if (buffer.Length > SafetensorsReader.LongestHeader)
            throw new ArgumentException($"The header of {buffer.Length} bytes is longer than the {SafetensorsReader.LongestHeader} that readers accept: fewer tensors or less text per file.");
        return buffer.ToArray();
    }

    private static void WriteElements(Stream stream, Tensor tensor)
    {
        switch (tensor.Type)
        {
            case DType.Float32: stream.Write(MemoryMarshal.AsBytes(tensor.ToArray<float>().AsSpan())); break;
            case DType.Int32: stream.Write(MemoryMarshal.AsBytes(tensor.ToArray<int>().AsSpan())); break;
            case DType.BFloat16: stream.Write(MemoryMarshal.AsBytes(tensor.ToArray<ushort>().AsSpan())); break;
            default: stream.Write(tensor.ToArray<byte>()); break;
        }
    }

    internal const string MetadataKey = "__metadata__";
}
