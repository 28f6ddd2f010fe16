using System.Globalization;

namespace KernelContrast.Datasets;

/// <summary>Images held in memory.</summary>
public sealed class MemoryDataset : IImageDataset
{
    private readonly byte[] _pixels;
    private readonly int[]? _labels;

    /// <summary>Images from their bytes, which are not copied.</summary>
    /// <param name="pixels">[N, channels, height, width], one byte each.</param>
    /// <param name="labels">[N] classes from 0, or null.</param>
    /// <param name="channels">1 or 3.</param>
    /// <param name="height">Rows per image.</param>
    /// <param name="width">Columns per image.</param>
    /// <param name="classNames">A name per class; their numbers when null.</param>
    /// <exception cref="ArgumentException">The lengths do not fit together, or a label has no class.</exception>
    public MemoryDataset(byte[] pixels, int[]? labels, int channels, int height, int width, IReadOnlyList<string>? classNames = null)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        if (channels is not (1 or 3)) throw new ArgumentException($"Images have 1 or 3 channels, not {channels}.");
        if (height < 1 || width < 1) throw new ArgumentException($"Images of {height}×{width} pixels have no pixels.");
        long size = (long)channels * height * width;
        if (pixels.Length % size != 0)
            throw new ArgumentException($"{pixels.Length} bytes are no whole number of {channels}×{height}×{width} images of {size} bytes.");
        Count = (int)(pixels.Length / size);
        if (labels is not null && labels.Length != Count)
            throw new ArgumentException($"{Count} images, but {labels.Length} labels.");
        int classes = labels is { Length: > 0 } ? labels.Max() + 1 : 0;
        if (labels is { Length: > 0 } && (labels.Min() < 0 || classes > 1_000_000))
            throw new ArgumentException($"Labels are classes from 0 to at most 999999, but they range from {labels.Min()} to {classes - 1}.");
        if (classNames is not null && classes > classNames.Count)
            throw new ArgumentException($"A label is {classes - 1}, but there are {classNames.Count} class names.");
        ClassNames = classNames ?? [.. Enumerable.Range(0, classes).Select(c => c.ToString(CultureInfo.InvariantCulture))];
        (_pixels, _labels, Channels, Height, Width) = (pixels, labels, channels, height, width);
    }

    /// <inheritdoc/>
    public int Count { get; }

    /// <inheritdoc/>
    public int Channels { get; }

    /// <inheritdoc/>
    public int Height { get; }

    /// <inheritdoc/>
    public int Width { get; }

    /// <inheritdoc/>
    public int ClassCount => ClassNames.Count;

    /// <inheritdoc/>
    public IReadOnlyList<string> ClassNames { get; }

    /// <inheritdoc/>
    public bool IsInMemory => true;

    /// <inheritdoc/>
    public void Read(int index, Span<byte> pixels)
    {
        this.CheckRead(index, pixels);
        _pixels.AsSpan(index * pixels.Length, pixels.Length).CopyTo(pixels);
    }

    /// <inheritdoc/>
    public int Label(int index) => _labels is null ? -1 : _labels[index];
}
