namespace KernelContrast;

/// <summary>A file is not what it should be. The message names the file, the place and what was expected there.</summary>
public sealed class DataFormatException : IOException
{
    /// <summary>A problem at a byte of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="offset">Where in the (decompressed) file, in bytes.</param>
    /// <param name="message">What was expected there, and what was found.</param>
    /// <param name="inner">What a decoder said, if one did.</param>
    public DataFormatException(string path, long offset, string message, Exception? inner = null)
        : base($"{path}: at byte {offset}: {message}", inner)
    {
        Path = path;
        Offset = offset;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Where in the (decompressed) file, in bytes.</summary>
    public long Offset { get; }
}
