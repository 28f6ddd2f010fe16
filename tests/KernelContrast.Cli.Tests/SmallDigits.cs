using System.Buffers.Binary;
using System.IO.Compression;

namespace KernelContrast.Cli.Tests;

/// <summary>A few of the repository's digits as a data set of their own.</summary>
internal static class SmallDigits
{
    internal static string Repository { get; } = Find();

    /// <summary>Writes the first images and labels of both parts, as plain IDX files.</summary>
    internal static string Write(string directory, int train, int test)
    {
        Directory.CreateDirectory(directory);
        foreach ((string part, int count) in new[] { ("train", train), ("t10k", test) })
        {
            Cut(directory, $"{part}-images-idx3-ubyte", count, header: 16, bytesEach: 28 * 28);
            Cut(directory, $"{part}-labels-idx1-ubyte", count, header: 8, bytesEach: 1);
        }
        return directory;
    }

    private static void Cut(string directory, string name, int count, int header, int bytesEach)
    {
        using var source = new GZipStream(File.OpenRead(Path.Combine(Repository, "data", "mnist", $"{name}.gz")), CompressionMode.Decompress);
        var bytes = new byte[header + count * bytesEach];
        source.ReadExactly(bytes);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), count);
        File.WriteAllBytes(Path.Combine(directory, name), bytes);
    }

    private static string Find()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
            if (File.Exists(Path.Combine(at.FullName, "KernelContrast.sln"))) return at.FullName;
        throw new InvalidOperationException("The tests are run from a build within the repository, which holds the digits.");
    }
}
