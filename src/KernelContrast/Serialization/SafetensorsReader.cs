using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace KernelContrast;

/// <summary>What a safetensors file says about one of its tensors.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">The type in the file, in the format's spelling: F32, F64, I64, …</param>
/// <param name="Shape">Its sizes.</param>
/// <param name="Begin">First byte, counted from the end of the header.</param>
/// <param name="End">One behind the last byte.</param>
public sealed record SafetensorsEntry(string Name, string Type, Shape Shape, long Begin, long End);

/// <summary>
/// An open safetensors file: its header is read and checked, its tensors are read when asked for. Nothing a file says
/// is believed before it is held against the file's length.
/// </summary>
public sealed class SafetensorsReader : IDisposable
{
    /// <summary>Longest header accepted, in bytes: the limit of the format's reference implementation.</summary>
    public const long LongestHeader = 100_000_000;

    private readonly FileStream _file;
    private readonly string _path;
    private readonly long _data;
    private readonly Dictionary<string, SafetensorsEntry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    /// <summary>Opens a file and reads its header.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="DataFormatException">It is no whole, well-formed safetensors file; the message says where.</exception>
    public SafetensorsReader(string path)
    {
        _path = path;
        _file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16);
        try
        {
            Span<byte> prefix = stackalloc byte[8];
            int read = _file.ReadAtLeast(prefix, 8, throwOnEndOfStream: false);
            if (read < 8) throw Wrong(read, $"expected the 8 bytes of a safetensors file's header length, but the file has {read} bytes.");
            ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            long most = Math.Min(LongestHeader, _file.Length - 8);
            if (length < 2 || length > (ulong)most)
                throw Wrong(0, $"expected a header length from 2 to {most}, found {length}: this is no safetensors file, or it is cut short.");
            var header = new byte[length];
            _file.ReadExactly(header);
            _data = 8 + (long)length;
            Parse(header);
            CheckPlaces();
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>The tensors, in the order of the header.</summary>
    public IReadOnlyCollection<SafetensorsEntry> Entries => _entries.Values;

    /// <summary>The text kept with them.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Contains(string name) => _entries.ContainsKey(name);

    /// <summary>
    /// Reads a tensor: F64, F16 and BF16 become float32, I64 and I32 int32, U8 and BOOL bytes.
    /// </summary>
    /// <exception cref="KeyNotFoundException">There is no such tensor; the message lists those there are.</exception>
    /// <exception cref="DataFormatException">Its type is none of these, or an I64 does not fit into 32 bits.</exception>
    public Tensor Read(string name, Device? device = null)
    {
        if (!_entries.TryGetValue(name, out SafetensorsEntry? entry))
            throw new KeyNotFoundException($"{_path}: there is no tensor '{name}'. There are: {Listing.Of(_entries.Keys)}.");
        if (entry.End - entry.Begin > Array.MaxLength || entry.Shape.Count > Array.MaxLength / 4)
            throw Wrong(_data + entry.Begin, $"expected at most {Array.MaxLength} bytes for a tensor, but '{name}' of shape {entry.Shape} has {entry.End - entry.Begin}.");
        var bytes = new byte[entry.End - entry.Begin];
        _file.Position = _data + entry.Begin;
        int read = _file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (read < bytes.Length)
            throw Wrong(_data + entry.Begin + read, $"expected {bytes.Length} bytes of '{name}', but the file ended after {read}.");
        return entry.Type switch
        {
            "F32" => Tensor.From<float>(MemoryMarshal.Cast<byte, float>(bytes), entry.Shape, device),
            "F64" => Tensor.From<float>(Converted<double, float>(bytes, d => (float)d), entry.Shape, device),
            "F16" => Tensor.From<float>(Converted<Half, float>(bytes, h => (float)h), entry.Shape, device),
            // bfloat16 is the upper half of a float32
            "BF16" => Tensor.From<float>(Converted<ushort, float>(bytes, b => BitConverter.UInt32BitsToSingle((uint)b << 16)), entry.Shape, device),
            "I32" => Tensor.From<int>(MemoryMarshal.Cast<byte, int>(bytes), entry.Shape, device),
            "I64" => Tensor.From<int>(Narrowed(entry, bytes), entry.Shape, device),
            "U8" or "BOOL" => Tensor.From<byte>(bytes, entry.Shape, device),
            _ => throw Wrong(_data + entry.Begin, $"expected elements of type F64, F32, F16, BF16, I64, I32, U8 or BOOL, but '{name}' has {entry.Type}."),
        };
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();

    private void Parse(byte[] header)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(header, new JsonDocumentOptions { MaxDepth = 4, AllowDuplicateProperties = false });
            if (json.RootElement.ValueKind != JsonValueKind.Object) throw Wrong(8, "expected a JSON object as the header.");
            foreach (JsonProperty property in json.RootElement.EnumerateObject())
            {
                if (property.Name == Safetensors.MetadataKey) ParseMetadata(property.Value);
                else _entries.Add(property.Name, ParseEntry(property.Name, property.Value));
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)   // the latter: text that is no UTF-8
        {
            throw new DataFormatException(_path, 8 + ((e as JsonException)?.BytePositionInLine ?? 0), $"expected a JSON object as the header ({e.Message.TrimEnd('.')}).", e);
        }
    }

    private void ParseMetadata(JsonElement metadata)
    {
        if (metadata.ValueKind != JsonValueKind.Object) throw Wrong(8, $"expected {Safetensors.MetadataKey} to be a JSON object of texts.");
        foreach (JsonProperty text in metadata.EnumerateObject())
        {
            if (text.Value.ValueKind != JsonValueKind.String) throw Wrong(8, $"expected a text for '{text.Name}' in {Safetensors.MetadataKey}.");
            _metadata[text.Name] = text.Value.GetString()!;
        }
    }

    private SafetensorsEntry ParseEntry(string name, JsonElement entry)
    {
        if (entry.ValueKind != JsonValueKind.Object
            || !entry.TryGetProperty("dtype", out JsonElement type) || type.ValueKind != JsonValueKind.String
            || !entry.TryGetProperty("shape", out JsonElement shape) || shape.ValueKind != JsonValueKind.Array
            || !entry.TryGetProperty("data_offsets", out JsonElement offsets) || offsets.ValueKind != JsonValueKind.Array)
            throw Wrong(8, $"expected a dtype, a shape and data_offsets for '{name}' in the header.");
        if (shape.GetArrayLength() > 16 || offsets.GetArrayLength() != 2)
            throw Wrong(8, $"expected at most 16 dimensions and two data_offsets for '{name}' in the header.");
        var sizes = new List<int>();
        long count = 1;
        foreach (JsonElement element in shape.EnumerateArray())
        {
            if (element.ValueKind != JsonValueKind.Number || !element.TryGetInt32(out int size) || size < 0)
                throw Wrong(8, $"expected sizes from 0 to {int.MaxValue} in the shape of '{name}', found {element.GetRawText()}.");
            sizes.Add(size);
            count = Math.Min(count, long.MaxValue >> 34) * size;
        }
        long begin = Place(name, offsets[0]), end = Place(name, offsets[1]);
        int elementSize = ElementSize(type.GetString()!);
        long available = _file.Length - _data;
        if (begin > end || end > available)
            throw Wrong(_data + Math.Min(begin, available), $"expected the elements of '{name}' within the {available} bytes behind the header, found data_offsets [{begin}, {end}].");
        if (elementSize > 0 && (count > available || count * elementSize != end - begin))
            throw Wrong(_data + begin, $"expected {sizes.Aggregate("1", (text, size) => $"{text}×{size}")} elements of {elementSize} bytes for '{name}', but its data_offsets [{begin}, {end}] span {end - begin} bytes.");
        if (count > available) throw Wrong(_data + begin, $"expected a shape of at most {available} elements for '{name}'.");
        return new SafetensorsEntry(name, type.GetString()!, new Shape([.. sizes]), begin, end);
    }

    private long Place(string name, JsonElement offset) =>
        offset.ValueKind == JsonValueKind.Number && offset.TryGetInt64(out long value) && value >= 0 ? value
        : throw Wrong(8, $"expected whole numbers from 0 up as data_offsets of '{name}', found {offset.GetRawText()}.");

    /// <summary>The elements follow each other without gap or overlap, as the format demands, and fill the file.</summary>
    private void CheckPlaces()
    {
        long expected = 0;
        foreach (SafetensorsEntry entry in _entries.Values.OrderBy(e => e.Begin).ThenBy(e => e.End))
        {
            if (entry.Begin != expected)
                throw Wrong(_data + entry.Begin, $"expected '{entry.Name}' to begin at data offset {expected}, where the tensor before it ends, but it begins at {entry.Begin}.");
            expected = entry.End;
        }
        if (_data + expected != _file.Length)
            throw Wrong(_data + expected, $"expected the end of the file behind the last tensor, but there are {_file.Length - _data - expected} more bytes.");
    }

    /// <summary>0 for types this library cannot read; they may be in a file as long as nobody asks for them.</summary>
    private static int ElementSize(string type) => type switch
    {
        "F64" or "I64" or "U64" => 8,
        "F32" or "I32" or "U32" => 4,
        "F16" or "BF16" or "I16" or "U16" => 2,
        "U8" or "I8" or "BOOL" => 1,
        _ => 0,
    };

    private int[] Narrowed(SafetensorsEntry entry, byte[] bytes)
    {
        ReadOnlySpan<long> wide = MemoryMarshal.Cast<byte, long>(bytes);
        var narrow = new int[wide.Length];
        for (int i = 0; i < wide.Length; i++)
        {
            narrow[i] = (int)wide[i];
            if (narrow[i] != wide[i]) throw Wrong(_data + entry.Begin + 8L * i, $"expected whole numbers of at most 32 bits in '{entry.Name}', found {wide[i]}.");
        }
        return narrow;
    }

    private static TTo[] Converted<TFrom, TTo>(byte[] bytes, Func<TFrom, TTo> convert) where TFrom : unmanaged
    {
        ReadOnlySpan<TFrom> from = MemoryMarshal.Cast<byte, TFrom>(bytes);
        var to = new TTo[from.Length];
        for (int i = 0; i < to.Length; i++) to[i] = convert(from[i]);
        return to;
    }

    private DataFormatException Wrong(long offset, string message) => new(_path, offset, message);
}
