namespace KernelContrast.Datasets;

/// <summary>Reading where a file's own words are not trusted: a claim is held against the file's length before memory is given to it.</summary>
internal static class BoundedFile
{
    // Deflate expands by at most 1032: a stored bit per 258-byte match, and the length code's.
    internal const long MostExpansion = 1032;

    internal static bool IsGzip(FileStream file)
    {
        bool gzip = file.ReadByte() == 0x1f && file.ReadByte() == 0x8b;
        file.Position = 0;
        return gzip;
    }

    /// <summary>Reads <paramref name="claim"/> bytes that must be the rest of the stream.</summary>
    internal static byte[] ReadClaimed(Stream stream, string path, long offset, long claim, long fileLength, bool compressed)
    {
        long most = compressed ? fileLength * MostExpansion : fileLength;
        if (claim > most - offset)
            throw new DataFormatException(path, offset,
                $"expected {claim} bytes as the header says, but the file of {fileLength} bytes {(compressed ? "cannot hold that much" : $"has {Math.Max(0, fileLength - offset)} left")}.");
        var bytes = new byte[claim];
        ReadExactly(stream, path, offset, bytes, "data");
        ExpectEnd(stream, path, offset + claim);
        return bytes;
    }

    internal static void ReadExactly(Stream stream, string path, long offset, Span<byte> buffer, string what)
    {
        int read = 0;
        try
        {
            read = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        }
        catch (InvalidDataException e)
        {
            throw new DataFormatException(path, offset, $"expected {buffer.Length} bytes of {what}, but the compressed data are damaged ({e.Message.TrimEnd('.')}).", e);
        }
        if (read < buffer.Length)
            throw new DataFormatException(path, offset + read, $"expected {buffer.Length} bytes of {what} from byte {offset} on, but the file ends after {read}.");
    }

    private static void ExpectEnd(Stream stream, string path, long offset)
    {
        int next;
        try { next = stream.ReadByte(); }
        catch (InvalidDataException e)
        {
            throw new DataFormatException(path, offset, $"expected the end of the file, but the compressed data are damaged ({e.Message.TrimEnd('.')}).", e);
        }
        if (next >= 0) throw new DataFormatException(path, offset, "expected the end of the file, found more bytes than the header says.");
    }
}
