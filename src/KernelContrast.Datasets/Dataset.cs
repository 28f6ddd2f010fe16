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
    private const string Known = """
        Known are, in a directory: IDX files by MNIST's names (train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels, plain or .gz); CIFAR's binary batches (data_batch_1.bin … test_batch.bin, or train.bin and test.bin); train-images.npy and test-images.npy with train-labels.npy and test-labels.npy; PNG or JPEG images in one folder per class, within train/ and test/ (or val/) if there are both parts. A single .npy or IDX file of images works too.
        """;

    /// <summary>Opens the data set at <paramref name="path"/>, recognised by the names of its files.</summary>
    /// <param name="path">
    /// A directory with IDX files by MNIST's names (plain or <c>.gz</c>); with CIFAR-10's or CIFAR-100's binary batches;
    /// with <c>train-images.npy</c>, <c>train-labels.npy</c>, <c>test-images.npy</c>, <c>test-labels.npy</c>; with images in
    /// one folder per class, or <c>train</c> and <c>test</c> (or <c>val</c>) folders of such. Or one IDX or .npy file of
    /// images ([N, H, W], [N, C, H, W] or [N, H, W, C] of uint8), with its labels in a file beside it that is named
    /// <c>labels</c> where the images' name says <c>images</c>.
    /// </param>
    /// <param name="split">The part wanted. A single file, or a folder that is not divided, is taken as the training part.</param>
    /// <param name="size">For folders of images: resize them to this height and width; 0: they have one size already.</param>
    /// <exception cref="DirectoryNotFoundException">There is nothing at the path.</exception>
    /// <exception cref="DataFormatException">What is there is no data set of a known kind, lacks the part, or is damaged.</exception>
    public static IImageDataset Open(string path, Split split = Split.Train, int size = 0)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (File.Exists(path)) return OpenFile(path);
        if (!Directory.Exists(path))
            throw new DirectoryNotFoundException($"{path}: there is no such file or directory. Give a data set. {Known}");
        IImageDataset? found = TryIdx(path, split) ?? TryCifar(path, split) ?? TryNpy(path, split);
        return found ?? TryImages(path, split, size)
            ?? throw new DataFormatException(path, 0, $"expected a data set's files in this directory, found none{(split == Split.Test ? " of a test part" : "")}. {Known}");
    }

    private static IImageDataset OpenFile(string path)
    {
        string name = Path.GetFileName(path);
        string labels = Path.Combine(Path.GetDirectoryName(path) ?? "",
            name.Replace("images", "labels", StringComparison.Ordinal).Replace("idx3", "idx1", StringComparison.Ordinal));
        string? found = labels != path && File.Exists(labels) ? labels : null;
        if (name.EndsWith(".npy", StringComparison.OrdinalIgnoreCase)) return ReadNpy(path, found);
        if (name.Contains("idx3-ubyte", StringComparison.Ordinal)) return IdxFile.ReadImages(path, found);
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

    private static MemoryDataset? TryCifar(string directory, Split split)
    {
        foreach (string folder in new[] { directory, Path.Combine(directory, "cifar-10-batches-bin"), Path.Combine(directory, "cifar-100-binary") })
        {
            string In(string name) => Path.Combine(folder, name);
            string? IfThere(string name) => File.Exists(In(name)) ? In(name) : null;
            if (split == Split.Train && File.Exists(In("data_batch_1.bin")))
            {
                string[] batches = [.. Enumerable.Range(1, 5).Select(i => In($"data_batch_{i}.bin"))];
                if (batches.FirstOrDefault(b => !File.Exists(b)) is { } missing)
                    throw new DataFormatException(missing, 0, "expected this file of CIFAR-10's five batches beside data_batch_1.bin; it is missing.");
                return CifarFile.Read10(batches, IfThere("batches.meta.txt"));
            }
            if (split == Split.Test && IfThere("test_batch.bin") is { } test) return CifarFile.Read10([test], IfThere("batches.meta.txt"));
            if (IfThere(split == Split.Train ? "train.bin" : "test.bin") is { } hundred) return CifarFile.Read100(hundred, IfThere("fine_label_names.txt"));
        }
        return null;
    }

    private static MemoryDataset? TryNpy(string directory, Split split)
    {
        string part = split == Split.Train ? "train" : "test";
        string images = Path.Combine(directory, $"{part}-images.npy"), labels = Path.Combine(directory, $"{part}-labels.npy");
        return File.Exists(images) ? ReadNpy(images, File.Exists(labels) ? labels : null) : null;
    }

    private static MemoryDataset ReadNpy(string path, string? labelsPath)
    {
        NpyArray array = NpyFile.Read(path);
        Shape shape = array.Shape;
        bool channelsLast = shape.Rank == 4 && shape[3] is 1 or 3 && shape[1] is not (1 or 3);
        if (array.Type != "u1" || shape.Count == 0
            || !(shape.Rank == 3 || (shape.Rank == 4 && (channelsLast || shape[1] is 1 or 3))))
            throw new DataFormatException(path, 0,
                $"expected images of uint8 and shape [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels, found {array.Type} and {shape}.");
        byte[] pixels = array.Bytes;
        var (channels, height, width) = shape.Rank == 3 ? (1, shape[1], shape[2])
            : channelsLast ? (shape[3], shape[1], shape[2]) : (shape[1], shape[2], shape[3]);
        if (channelsLast)
        {
            pixels = new byte[pixels.Length];
            ChannelsLast.ToNchw<byte>(array.Bytes, pixels, new Shape(shape[0], channels, height, width));
        }
        int[]? labels = null;
        if (labelsPath is not null)
        {
            NpyArray found = NpyFile.Read(labelsPath);
            labels = found.ToInt32s();
            if (found.Shape.Rank != 1 || labels.Length != shape[0] || labels.Any(l => l is < 0 or >= 1_000_000))
                throw new DataFormatException(labelsPath, 0, $"expected {shape[0]} classes of 0 to 999999 in one dimension for the images of {path}, found shape {found.Shape}, {labels.DefaultIfEmpty().Min()} to {labels.DefaultIfEmpty().Max()}.");
        }
        return new MemoryDataset(pixels, labels, channels, height, width);
    }

    private static ImageFolder? TryImages(string directory, Split split, int size)
    {
        string[] parts = split == Split.Train ? ["train"] : ["test", "val"];
        foreach (string part in parts)
            if (Directory.Exists(Path.Combine(directory, part))) return new ImageFolder(Path.Combine(directory, part), size);
        if (split == Split.Test || !ImageFolder.HasImages(directory)) return null;
        return new ImageFolder(directory, size);
    }
}
