namespace KernelContrast.Datasets;

/// <summary>
/// Random access to images of one size as bytes, with a class each. Safe to read from several threads at once.
/// </summary>
public interface IImageDataset
{
    /// <summary>Number of images.</summary>
    int Count { get; }

    /// <summary>1 (grey) or 3 (red, green, blue).</summary>
    int Channels { get; }

    /// <summary>Rows of pixels of every image.</summary>
    int Height { get; }

    /// <summary>Columns of pixels of every image.</summary>
    int Width { get; }

    /// <summary>Number of classes; 0 when the images have no labels.</summary>
    int ClassCount { get; }

    /// <summary>A name for each class, in the order of the labels.</summary>
    IReadOnlyList<string> ClassNames { get; }

    /// <summary>
    /// Whether <see cref="Read"/> only copies from memory: then nobody reads ahead what can be read again at any time. No, unless
    /// a data set says so.
    /// </summary>
    bool IsInMemory => false;

    /// <summary>Writes image <paramref name="index"/> as Channels × Height × Width bytes (CHW), 0 black, 255 white.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such image.</exception>
    /// <exception cref="ArgumentException"><paramref name="pixels"/> has another length.</exception>
    /// <exception cref="DataFormatException">The image's file cannot be decoded.</exception>
    void Read(int index, Span<byte> pixels);

    /// <summary>The class of image <paramref name="index"/>, in [0, ClassCount), or −1 when it has none.</summary>
    int Label(int index);
}

/// <summary>What follows from a data set's members.</summary>
public static class ImageDatasetExtensions
{
    extension(IImageDataset data)
    {
        /// <summary>Bytes of one image: Channels × Height × Width.</summary>
        public int PixelsPerImage => (data ?? throw new ArgumentNullException(nameof(data))).Channels * data.Height * data.Width;

        /// <summary>All labels, in order.</summary>
        public int[] Labels()
        {
            ArgumentNullException.ThrowIfNull(data);
            var labels = new int[data.Count];
            for (int i = 0; i < labels.Length; i++) labels[i] = data.Label(i);
            return labels;
        }

        /// <summary>The first <paramref name="count"/> images, or all when there are fewer.</summary>
        /// <exception cref="ArgumentOutOfRangeException">The number is negative.</exception>
        public IImageDataset Take(int count)
        {
            ArgumentNullException.ThrowIfNull(data);
            ArgumentOutOfRangeException.ThrowIfNegative(count);
            return count >= data.Count ? data : new SubsetDataset(data, [.. Enumerable.Range(0, count)]);
        }

        /// <summary>The images of these indices, in this order.</summary>
        public IImageDataset Subset(IReadOnlyList<int> indices)
        {
            ArgumentNullException.ThrowIfNull(data);
            ArgumentNullException.ThrowIfNull(indices);
            return new SubsetDataset(data, [.. indices]);
        }

        internal void CheckRead(int index, Span<byte> pixels)
        {
            if ((uint)index >= (uint)data.Count)
                throw new ArgumentOutOfRangeException(nameof(index), index, $"The data set has images 0 to {data.Count - 1}.");
            if (pixels.Length != data.PixelsPerImage)
                throw new ArgumentException($"An image has {data.Channels}×{data.Height}×{data.Width} = {data.PixelsPerImage} bytes, but the span has {pixels.Length}.");
        }
    }
}

/// <summary>Some images of another data set.</summary>
internal sealed class SubsetDataset : IImageDataset
{
    private readonly IImageDataset _data;
    private readonly int[] _indices;

    internal SubsetDataset(IImageDataset data, int[] indices)
    {
        foreach (int index in indices)
            if ((uint)index >= (uint)data.Count)
                throw new ArgumentOutOfRangeException(nameof(indices), index, $"The data set has images 0 to {data.Count - 1}.");
        _data = data;
        _indices = indices;
    }

    public int Count => _indices.Length;
    public int Channels => _data.Channels;
    public int Height => _data.Height;
    public int Width => _data.Width;
    public int ClassCount => _data.ClassCount;
    public IReadOnlyList<string> ClassNames => _data.ClassNames;
    public bool IsInMemory => _data.IsInMemory;

    public void Read(int index, Span<byte> pixels)
    {
        this.CheckRead(index, pixels);
        _data.Read(_indices[index], pixels);
    }

    public int Label(int index) => _data.Label(_indices[index]);
}
