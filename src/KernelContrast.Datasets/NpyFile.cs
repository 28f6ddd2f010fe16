using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelContrast.Datasets;

/// <summary>An array as NumPy stores it: little-endian, last index fastest.</summary>
/// <param name="Path">The file it came from, for messages.</param>
/// <param name="Type">NumPy's name of the type without byte order: f2, f4, f8, i1, i2, i4, i8, u1 or u2.</param>
/// <param name="Shape">The sizes.</param>
/// <param name="Bytes">The elements.</param>
public sealed record NpyArray(string Path, string Type, Shape Shape, byte[] Bytes)
{
    /// <summary>The elements as floats; whole numbers and doubles are rounded to the nearest.</summary>
    public float[] ToSingles() => Type switch
    {
        "f4" => MemoryMarshal.Cast<byte, float>(Bytes).ToArray(),
        "f8" => Convert<double, float>(v => (float)v),
        "f2" => Convert<Half, float>(v => (float)v),
        _ => Array.ConvertAll(ToInt64s(), v => (float)v),
    };

    /// <summary>The elements as 32-bit whole numbers.</summary>
    /// <exception cref="DataFormatException">They are floats, or one does not fit.</exception>
    public int[] ToInt32s()
    {
        long[] values = ToInt64s();
        var result = new int[values.Length];
        for (int i = 0; i < values.Length; i++)
            result[i] = values[i] is >= int.MinValue and <= int.MaxValue ? (int)values[i]
                : throw new DataFormatException(Path, 0, $"expected whole numbers of 32 bits, found {values[i]} at index {i}.");
        return result;
    }

    /// <summary>The elements as 64-bit whole numbers.</summary>
    /// <exception cref="DataFormatException">They are floats.</exception>
    public long[] ToInt64s() => Type switch
    {
        "i1" => Convert<sbyte, long>(v => v),
        "i2" => Convert<short, long>(v => v),
        "i4" => Convert<int, long>(v => v),
        "i8" => Convert<long, long>(v => v),
        "u1" => Convert<byte, long>(v => v),
        "u2" => Convert<ushort, long>(v => v),
        _ => throw new DataFormatException(Path, 0, $"expected whole numbers, found type {Type}."),
    };

    private TTo[] Convert<TFrom, TTo>(Func<TFrom, TTo> convert) where TFrom : unmanaged
    {
        ReadOnlySpan<TFrom> values = MemoryMarshal.Cast<byte, TFrom>(Bytes);
        var result = new TTo[values.Length];
        for (int i = 0; i < result.Length; i++) result[i] = convert(values[i]);
        return result;
    }
}

/// <summary>Reads and writes NumPy's .npy files, versions 1 to 3.</summary>
/// <remarks>
/// 93 "NUMPY", a version, the header's length (16 bits in version 1, else 32), a Python dictionary with descr,
/// fortran_order and shape, then the elements. Format: numpy.lib.format's documentation.
/// </remarks>
public static class NpyFile
{
    private const int MostHeader = 1 << 16;
    private static ReadOnlySpan<byte> Magic => [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y'];

    /// <summary>Reads an array.</summary>
    /// <exception cref="DataFormatException">The file is no such array, is cut short, or of a kind not read here.</exception>
    public static NpyArray Read(string path)
    {
        using FileStream file = File.OpenRead(path);
        Span<byte> start = stackalloc byte[12];
        BoundedFile.ReadExactly(file, path, 0, start[..8], "a .npy header");
        if (!start[..6].SequenceEqual(Magic))
            throw new DataFormatException(path, 0, $"expected the bytes 93 'NUMPY' of a .npy file, found {Convert.ToHexString(start[..6])}.");
        if (start[6] is < 1 or > 3) throw new DataFormatException(path, 6, $"expected format version 1 to 3, found {start[6]}.");
        int lengthBytes = start[6] == 1 ? 2 : 4;
        BoundedFile.ReadExactly(file, path, 8, start.Slice(8, lengthBytes), "the header's length");
        long length = lengthBytes == 2 ? BinaryPrimitives.ReadUInt16LittleEndian(start[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(start[8..]);
        int headerAt = 8 + lengthBytes;
        if (length > MostHeader || length > file.Length - headerAt)
            throw new DataFormatException(path, 8, $"expected a header of at most {Math.Min(MostHeader, file.Length - headerAt)} bytes, found {length}.");
        var header = new byte[length];
        BoundedFile.ReadExactly(file, path, headerAt, header, "the header");
        var (type, shape) = new HeaderParser(path, headerAt, Encoding.Latin1.GetString(header)).Parse();

        long dataAt = headerAt + length, bytes = type[1] - '0';
        foreach (int size in shape)
            if ((bytes = size == 0 ? 0 : Math.Min(bytes, long.MaxValue / Math.Max(1, size)) * size) > Array.MaxLength)
                throw new DataFormatException(path, headerAt, $"expected at most {Array.MaxLength} bytes of elements, found the shape ({string.Join(", ", shape)}).");
        return new NpyArray(path, type, new Shape(shape), BoundedFile.ReadClaimed(file, path, dataAt, bytes, file.Length, compressed: false));
    }

    /// <summary>Writes floats (version 1, little-endian), to a temporary name first.</summary>
    public static void Write(string path, ReadOnlySpan<float> values, Shape shape) => Write(path, "<f4", MemoryMarshal.AsBytes(values), values.Length, shape);

    /// <summary>Writes 32-bit whole numbers (version 1, little-endian), to a temporary name first.</summary>
    public static void Write(string path, ReadOnlySpan<int> values, Shape shape) => Write(path, "<i4", MemoryMarshal.AsBytes(values), values.Length, shape);

    private static void Write(string path, string descr, ReadOnlySpan<byte> bytes, int count, Shape shape)
    {
        if (shape.Count != count) throw new ArgumentException($"The shape {shape} has {shape.Count} elements, but {count} values were given.");
        string sizes = string.Concat(shape.Select(size => string.Create(CultureInfo.InvariantCulture, $"{size}, "))).TrimEnd();
        if (shape.Rank > 1) sizes = sizes.TrimEnd(',');
        string header = $"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}";
        // the elements begin at a multiple of 64
        header = header.PadRight((10 + header.Length + 1 + 63) / 64 * 64 - 10 - 1) + "\n";
        byte[] head = [.. Magic, 1, 0, (byte)header.Length, (byte)(header.Length >> 8), .. Encoding.ASCII.GetBytes(header)];
        byte[] all = [.. head, .. bytes];
        AtomicFile.Write(path, stream => stream.Write(all));
    }

    // The dictionary's own small language: quoted words, True, False, and a tuple of whole numbers.
    private ref struct HeaderParser(string path, int offset, string text)
    {
        private int _at;

        internal (string Type, int[] Shape) Parse()
        {
            string? descr = null;
            bool? fortran = null;
            int[]? shape = null;
            Expect('{');
            while (!Accept('}'))
            {
                int keyAt = _at;
                switch (Quoted())
                {
                    case "descr": Expect(':'); descr = Quoted(); break;
                    case "fortran_order": Expect(':'); fortran = Word(); break;
                    case "shape": Expect(':'); shape = Tuple(); break;
                    default: _at = keyAt; throw Wrong("'descr', 'fortran_order' or 'shape'");
                }
                if (!Accept(',')) { Expect('}'); break; }
            }
            if (descr is null || fortran is null || shape is null) throw Wrong("all of 'descr', 'fortran_order' and 'shape'");
            if (descr is not ("<f2" or "<f4" or "<f8" or "<i2" or "<i4" or "<i8" or "<u2" or "|i1" or "|u1"))
                throw new DataFormatException(path, offset, $"expected a type of <f2, <f4, <f8, |i1, <i2, <i4, <i8, |u1 or <u2, found '{descr}'. Convert it with array.astype('<f4').");
            if (fortran.Value && shape.Length > 1)
                throw new DataFormatException(path, offset, "expected C order, found Fortran order. Convert it with numpy.ascontiguousarray(array).");
            return (descr[1..], shape);
        }

        private void Spaces()
        {
            while (_at < text.Length && char.IsWhiteSpace(text[_at])) _at++;
        }

        private bool Accept(char c)
        {
            Spaces();
            if (_at >= text.Length || text[_at] != c) return false;
            _at++;
            return true;
        }

        private void Expect(char c)
        {
            if (!Accept(c)) throw Wrong($"'{c}'");
        }

        private string Quoted()
        {
            char quote = Accept('\'') ? '\'' : Accept('"') ? '"' : throw Wrong("a quoted word");
            int end = text.IndexOf(quote, _at);
            if (end < 0 || end - _at > 64) throw Wrong("a closing quote");
            string word = text[_at..end];
            _at = end + 1;
            return word;
        }

        private bool Word()
        {
            Spaces();
            foreach (bool value in new[] { true, false })
                if (string.CompareOrdinal(text, _at, value ? "True" : "False", 0, value ? 4 : 5) == 0)
                {
                    _at += value ? 4 : 5;
                    return value;
                }
            throw Wrong("True or False");
        }

        private int[] Tuple()
        {
            var sizes = new List<int>();
            Expect('(');
            while (!Accept(')'))
            {
                Spaces();
                int start = _at;
                while (_at < text.Length && char.IsAsciiDigit(text[_at])) _at++;
                if (!int.TryParse(text.AsSpan(start, _at - start), NumberStyles.None, CultureInfo.InvariantCulture, out int size) || sizes.Count == 32)
                    throw Wrong($"a size below 2^31 (of at most 32)");
                sizes.Add(size);
                if (!Accept(',')) { Expect(')'); break; }
            }
            return [.. sizes];
        }

        private readonly DataFormatException Wrong(string expected) =>
            new(path, offset + _at, $"expected {expected} in the .npy header, found {(_at < text.Length ? $"'{text[_at]}'" : "its end")}.");
    }
}
