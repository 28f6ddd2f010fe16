namespace KernelContrast.Datasets;

/// <summary>Some images of a data set, as bytes, and which ones they are.</summary>
public sealed class ImageBatch
{
    /// <summary>Room for <paramref name="capacity"/> images of the data set's size.</summary>
    public ImageBatch(IImageDataset data, int capacity) : this(data, capacity, resident: null) { }

    /// <param name="data">For the images' size.</param>
    /// <param name="capacity">Images that it has room for.</param>
    /// <param name="resident">See <see cref="Resident"/>.</param>
    /// <param name="isUnread">Whether the images stay in the data set: see <see cref="Unread"/>.</param>
    internal ImageBatch(IImageDataset data, int capacity, Tensor? resident, bool isUnread = false)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        (Channels, Height, Width) = (data.Channels, data.Height, data.Width);
        Pixels = resident is null && !isUnread ? new byte[checked(capacity * data.PixelsPerImage)] : [];
        Resident = resident;
        if (isUnread && resident is null) Unread = data;
        Indices = new int[capacity];
        Labels = new int[capacity];
    }

    /// <summary>Number of images in it.</summary>
    public int Count { get; private set; }

    /// <summary>1 or 3.</summary>
    public int Channels { get; }

    /// <summary>Rows per image.</summary>
    public int Height { get; }

    /// <summary>Columns per image.</summary>
    public int Width { get; }

    /// <summary>[Count, Channels, Height, Width]; there may be room behind.</summary>
    public byte[] Pixels { get; }

    /// <summary>Where each image is in its data set; there may be room behind.</summary>
    public int[] Indices { get; }

    /// <summary>Each image's class, −1 for none; there may be room behind.</summary>
    public int[] Labels { get; }

    /// <summary>
    /// All images of the data set where ops run, [images, C, H, W] bytes in that order: image i of the batch is row
    /// Indices[i]. Null when they are in <see cref="Pixels"/>.
    /// </summary>
    internal Tensor? Resident { get; private set; }

    /// <summary>
    /// Where the images still are when the batch says only which they are: a part of it is read when another batch takes it over
    /// (<see cref="Fill(ImageBatch, int, int)"/>). Null when they are in <see cref="Pixels"/> or in <see cref="Resident"/>.
    /// </summary>
    internal IImageDataset? Unread { get; }

    /// <summary>Reads the images of these indices, in this order.</summary>
    public ImageBatch Fill(IImageDataset data, ReadOnlySpan<int> indices)
    {
        if (indices.Length > Indices.Length)
            throw new ArgumentException($"The batch has room for {Indices.Length} images, not {indices.Length}.");
        if ((data.Channels, data.Height, data.Width) != (Channels, Height, Width))
            throw new ArgumentException($"The batch holds {Channels}×{Height}×{Width} images, the data set {data.Channels}×{data.Height}×{data.Width}.");
        int size = data.PixelsPerImage;
        for (int i = 0; i < indices.Length; i++)
        {
            if (Resident is null && Unread is null) data.Read(indices[i], Pixels.AsSpan(i * size, size));
            Indices[i] = indices[i];
            Labels[i] = data.Label(indices[i]);
        }
        Count = indices.Length;
        return this;
    }

    /// <summary>Takes over images start, start + 1, … of another batch, so many as <paramref name="count"/> says.</summary>
    /// <exception cref="ArgumentException">They do not fit, or the other batch has not that many.</exception>
    public ImageBatch Fill(ImageBatch source, int start, int count)
    {
        if ((source.Channels, source.Height, source.Width) != (Channels, Height, Width))
            throw new ArgumentException($"The batch holds {Channels}×{Height}×{Width} images, the other {source.Channels}×{source.Height}×{source.Width}.");
        if (start < 0 || count < 0 || count > Indices.Length || start > source.Count - count)
            throw new ArgumentException($"{count} images from image {start} on of a batch of {source.Count} do not fit into one with room for {Indices.Length}.");
        int size = Channels * Height * Width;
        Resident = source.Resident;
        if (source.Unread is { } data)
            for (int i = 0; i < count; i++) data.Read(source.Indices[start + i], Pixels.AsSpan(i * size, size));
        else if (Resident is null) source.Pixels.AsSpan(start * size, count * size).CopyTo(Pixels);
        source.Indices.AsSpan(start, count).CopyTo(Indices);
        source.Labels.AsSpan(start, count).CopyTo(Labels);
        Count = count;
        return this;
    }

    /// <summary>A batch of images start, start + 1, … of a data set.</summary>
    public static ImageBatch Of(IImageDataset data, int start, int count)
    {
        ArgumentNullException.ThrowIfNull(data);
        var indices = new int[count];
        for (int i = 0; i < count; i++) indices[i] = start + i;
        return new ImageBatch(data, count).Fill(data, indices);
    }
}
