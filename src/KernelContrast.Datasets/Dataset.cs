namespace KernelContrast.Datasets;

/// <summary>Which part of a data set.</summary>
public enum Split
{
    /// <summary>What is learned from.</summary>
    Train,
    /// <summary>What is only measured on.</summary>
    Test,
}

/// <summary>Opens whatever data set is at a path.</summary>
public static class Dataset
{
    /// <summary>Opens the data set at <paramref name="path"/>, recognised by the names of its files.</summary>
    /// <param name="path">
    /// A directory with IDX files by MNIST's names (<c>train-images-idx3-ubyte</c>, <c>t10k-images-idx3-ubyte</c>, labels
    /// likewise; plain or <c>.gz</c>); or one IDX file of images.
    /// </param>
    /// <param name="split">The part wanted.</param>
    /// <exception cref="DirectoryNotFoundException">There is nothing at the path.</exception>
    /// <exception cref="DataFormatException">What is there is no data set of a known kind, or is damaged.</exception>
    public static IImageDataset Open(string path, Split split = Split.Train)
    {
        if (File.Exists(path)) return OpenFile(path);
        if (!Directory.Exists(path))
            throw new DirectoryNotFoundException($"{path}: there is no such file or directory. Give a directory with a data set. {Known}");
        return TryIdx(path, split)
            ?? throw new DataFormatException(path, 0, $"expected a data set's files in this directory, found none. {Known}");
    }

    private const string Known = "Known are IDX files by MNIST's names (train-images-idx3-ubyte, …; plain or .gz).";

    private static IImageDataset OpenFile(string path)
    {
        string name = Path.GetFileName(path);
        if (name.Contains("idx3-ubyte", StringComparison.Ordinal))
        {
            string labels = Path.Combine(Path.GetDirectoryName(path)!,
                name.Replace("images", "labels", StringComparison.Ordinal).Replace("idx3", "idx1", StringComparison.Ordinal));
            return IdxFile.ReadImages(path, File.Exists(labels) ? labels : null);
        }
        throw new DataFormatException(path, 0, $"expected a data set. {Known}");
    }

    private static MemoryDataset? TryIdx(string directory, Split split)
    {
        string part = split == Split.Train ? "train" : "t10k";
        return Existing(directory, $"{part}-images-idx3-ubyte") is { } images
            ? IdxFile.ReadImages(images, Existing(directory, $"{part}-labels-idx1-ubyte")) : null;
    }

    private static string? Existing(string directory, string name)
    {
        string plain = Path.Combine(directory, name);
        return File.Exists(plain) ? plain : File.Exists(plain + ".gz") ? plain + ".gz" : null;
    }
}
