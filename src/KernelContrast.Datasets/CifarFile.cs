namespace KernelContrast.Datasets;

/// <summary>Reads CIFAR-10 and CIFAR-100 in their binary versions.</summary>
/// <remarks>
/// Records of one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine), then 3 × 32 × 32 bytes, red first.
/// Format: https://www.cs.toronto.edu/~kriz/cifar.html.
/// </remarks>
public static class CifarFile
{
    private const int Pixels = 3 * 32 * 32;

    /// <summary>CIFAR-10 from its batches, one after the other.</summary>
    /// <param name="paths">data_batch_1.bin, … or test_batch.bin.</param>
    /// <param name="namesPath">batches.meta.txt, a class name per line; numbers when null.</param>
    /// <exception cref="DataFormatException">A file is no such batch.</exception>
    public static MemoryDataset Read10(IReadOnlyList<string> paths, string? namesPath = null)
    {
        ArgumentNullException.ThrowIfNull(paths);
        return Read(paths, 1, 10, namesPath);
    }

    /// <summary>CIFAR-100 with its fine labels.</summary>
    /// <param name="path">train.bin or test.bin.</param>
    /// <param name="namesPath">fine_label_names.txt, a class name per line; numbers when null.</param>
    /// <exception cref="DataFormatException">The file is no such file.</exception>
    public static MemoryDataset Read100(string path, string? namesPath = null)
    {
        ArgumentNullException.ThrowIfNull(path);
        return Read([path], 2, 100, namesPath);
    }

    private static MemoryDataset Read(IReadOnlyList<string> paths, int labelBytes, int classes, string? namesPath)
    {
        int record = labelBytes + Pixels;
        long total = 0;
        foreach (string path in paths)
        {
            long length = new FileInfo(path).Length;
            if (length == 0 || length % record != 0)
                throw new DataFormatException(path, length / record * record,
                    $"expected whole records of {record} bytes ({labelBytes} label, {Pixels} pixels), found {length % record} bytes after {length / record} records.");
            total += length / record;
        }
        if (total * Pixels > Array.MaxLength)
            throw new DataFormatException(paths[0], 0, $"expected at most {Array.MaxLength / Pixels} images in all, found {total}.");
        var pixels = new byte[total * Pixels];
        var labels = new int[total];
        var entry = new byte[record];
        int image = 0;
        foreach (string path in paths)
        {
            using FileStream file = File.OpenRead(path);
            for (long offset = 0; offset < file.Length; offset += record, image++)
            {
                BoundedFile.ReadExactly(file, path, offset, entry, "a CIFAR record");
                int label = entry[labelBytes - 1];
                if (label >= classes)
                    throw new DataFormatException(path, offset + labelBytes - 1, $"expected a label of 0 to {classes - 1}, found {label}.");
                labels[image] = label;
                entry.AsSpan(labelBytes).CopyTo(pixels.AsSpan(image * Pixels));
            }
        }
        return new MemoryDataset(pixels, labels, 3, 32, 32, Names(namesPath, classes));
    }

    private static string[] Names(string? path, int classes)
    {
        if (path is null) return [.. Enumerable.Range(0, classes).Select(c => $"{c}")];
        const int most = 1 << 16;
        long length = new FileInfo(path).Length;
        if (length > most) throw new DataFormatException(path, most, $"expected {classes} names, one per line, found {length} bytes.");
        string[] names = [.. File.ReadLines(path).Select(line => line.Trim()).Where(line => line.Length > 0)];
        return names.Length == classes ? names
            : throw new DataFormatException(path, 0, $"expected {classes} names, one per line, found {names.Length}.");
    }
}
