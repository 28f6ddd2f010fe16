using KernelContrast.Augment;
using StbImageSharp;

namespace KernelContrast.Datasets;

/// <summary>
/// PNG and JPEG files in a folder, read when they are asked for. Each subfolder is a class, in the order of their names;
/// images right in the folder, without subfolders, have no labels. Alpha is ignored.
/// </summary>
public sealed class ImageFolder : IImageDataset
{
    /// <summary>Greatest height and width that images are resized to.</summary>
    public const int MostSize = 8192;

    private const long MostPixels = 1 << 26;
    private const long CacheBytes = 1L << 28;

    private readonly string[] _paths;
    private readonly int[]? _labels;
    private readonly bool _resize;
    private readonly byte[]?[]? _cache;

    /// <summary>The images of a folder.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="size">
    /// Height and width of the images: the largest square in the middle of each is resized to it, bilinear with
    /// antialias. When 0, all images must have one size already.
    /// </param>
    /// <exception cref="DataFormatException">There are no images, one is damaged, or their sizes differ and none was given.</exception>
    public ImageFolder(string path, int size = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, MostSize);
        string[] classes = [.. Directory.GetDirectories(path).Where(d => Images(d, recurse: true).Any()).Order(StringComparer.Ordinal)];
        if (classes.Length == 0) _paths = [.. Images(path, recurse: false).Order(StringComparer.Ordinal)];
        else
        {
            string[][] perClass = [.. classes.Select(c => Images(c, recurse: true).Order(StringComparer.Ordinal).ToArray())];
            _paths = [.. perClass.SelectMany(p => p)];
            _labels = [.. perClass.SelectMany((paths, label) => paths.Select(_ => label))];
        }
        ClassNames = [.. classes.Select(c => Path.GetFileName(c))];
        if (_paths.Length == 0) throw new DataFormatException(path, 0, "expected PNG or JPEG files, or folders of them, found none.");
        bool grey = true;
        (int Height, int Width) first = default;
        for (int i = 0; i < _paths.Length; i++)
        {
            var (height, width, hasColour) = Header(_paths[i]);
            grey &= !hasColour;
            if (i == 0) first = (height, width);
            else if (size == 0 && (height, width) != first)
                throw new DataFormatException(_paths[i], 0,
                    $"expected an image of {first.Height}×{first.Width} pixels (height × width) as {_paths[0]} has, found {height}×{width}. Give a size to resize them all to, the tool's --image-size.");
        }
        Channels = grey ? 1 : 3;
        (Height, Width) = size > 0 ? (size, size) : first;
        _resize = size > 0;
        if ((long)Count * this.PixelsPerImage <= CacheBytes) _cache = new byte[Count][];
    }

    /// <inheritdoc/>
    public int Count => _paths.Length;

    /// <summary>3, or 1 when every image is grey.</summary>
    public int Channels { get; }

    /// <inheritdoc/>
    public int Height { get; }

    /// <inheritdoc/>
    public int Width { get; }

    /// <inheritdoc/>
    public int ClassCount => ClassNames.Count;

    /// <inheritdoc/>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>The file of an image.</summary>
    public string PathOf(int index) => _paths[index];

    /// <inheritdoc/>
    public int Label(int index) => _labels is null ? -1 : _labels[index];

    /// <inheritdoc/>
    public void Read(int index, Span<byte> pixels)
    {
        this.CheckRead(index, pixels);
        if (_cache?[index] is not { } image)
        {
            image = Decode(_paths[index]);
            if (_cache is not null) _cache[index] = image;
        }
        image.CopyTo(pixels);
    }

    internal static bool HasImages(string folder) => Images(folder, recurse: true).Any();

    private static IEnumerable<string> Images(string folder, bool recurse) =>
        Directory.EnumerateFiles(folder, "*", new EnumerationOptions { RecurseSubdirectories = recurse })
            .Where(f => Path.GetExtension(f).ToLowerInvariant() is ".png" or ".jpg" or ".jpeg");

    private static (int Height, int Width, bool HasColour) Header(string path)
    {
        using FileStream file = File.OpenRead(path);
        ImageInfo? found;
        try { found = ImageInfo.FromStream(new StrictStream(file)); }
        catch (Exception e) when (e is not OutOfMemoryException) { throw Damaged(path, e); }
        if (found is not { } info) throw Damaged(path, null);
        long pixels = (long)info.Width * info.Height;
        if (info.Width < 1 || info.Height < 1 || pixels > MostPixels)
            throw new DataFormatException(path, 0, $"expected an image of 1 to {MostPixels} pixels, found {info.Height}×{info.Width}.");
        // the least a file can spend: a PNG a filter byte per row and a bit per pixel, compressed; a JPEG a bit per block of 8 × 8
        file.Position = 0;
        bool png = file.ReadByte() == 0x89;
        if (png ? pixels / 8 + info.Height > file.Length * BoundedFile.MostExpansion : pixels / 512 > file.Length)
            throw new DataFormatException(path, 0, $"expected an image that {file.Length} bytes can hold, found {info.Height}×{info.Width}.");
        return (info.Height, info.Width, info.ColorComponents is ColorComponents.RedGreenBlue or ColorComponents.RedGreenBlueAlpha);
    }

    private byte[] Decode(string path)
    {
        // again, since the file may have changed since the folder was opened
        var (height, width, _) = Header(path);
        if (!_resize && (height, width) != (Height, Width))
            throw new DataFormatException(path, 0, $"expected an image of {Height}×{Width} pixels as when the folder was opened, found {height}×{width}.");
        byte[] bytes = File.ReadAllBytes(path);
        ImageResult decoded;
        try { decoded = ImageResult.FromStream(new StrictStream(new MemoryStream(bytes)), Channels == 1 ? ColorComponents.Grey : ColorComponents.RedGreenBlue); }
        catch (Exception e) when (e is not OutOfMemoryException) { throw Damaged(path, e); }
        if (decoded.Data.Length != height * width * Channels || (decoded.Height, decoded.Width) != (height, width)) throw Damaged(path, null);
        var image = new byte[this.PixelsPerImage];
        if (_resize && (height, width) != (Height, Width)) Squares.Resize(decoded.Data, height, width, Channels, image, Height);
        else
            for (int c = 0; c < Channels; c++)
                for (int i = 0; i < height * width; i++) image[c * height * width + i] = decoded.Data[i * Channels + c];
        return image;
    }

    private static DataFormatException Damaged(string path, Exception? e) =>
        new(path, 0, $"expected a PNG or JPEG image, but it cannot be decoded{(e is null ? "" : $" ({e.Message.TrimEnd('.')})")}.", e);
}

/// <summary>The middle of an image, resized.</summary>
internal static unsafe class Squares
{
    /// <summary>From interleaved bytes [H, W, C] to planes [C, size, size].</summary>
    internal static void Resize(ReadOnlySpan<byte> from, int height, int width, int channels, Span<byte> to, int size)
    {
        int side = Math.Min(height, width), top = (height - side) / 2, left = (width - side) / 2;
        int taps = ResampleTable.MostTaps(side, size, Interpolation.Bilinear, antialias: true);
        var weights = new float[size * taps];
        var first = new int[size];
        var rows = new float[size * side * channels];
        fixed (float* w = weights)
        fixed (int* f = first)
        {
            var table = new ResampleTable { First = f, Weights = w };
            table.Fill(side, size, Interpolation.Bilinear, antialias: true, reverse: false);
            for (int y = 0; y < size; y++)
                for (int k = 0; k < table.Taps; k++)
                {
                    float weight = w[y * table.Taps + k];
                    ReadOnlySpan<byte> source = from.Slice(((top + f[y] + k) * width + left) * channels, side * channels);
                    Span<float> sums = rows.AsSpan(y * side * channels, side * channels);
                    for (int i = 0; i < sums.Length; i++) sums[i] += weight * source[i];
                }
            for (int y = 0; y < size; y++)
                for (int x = 0; x < size; x++)
                    for (int c = 0; c < channels; c++)
                    {
                        float sum = 0;
                        for (int k = 0; k < table.Taps; k++)
                            sum += w[x * table.Taps + k] * rows[(y * side + f[x] + k) * channels + c];
                        to[(c * size + y) * size + x] = (byte)Math.Clamp(MathF.Round(sum), 0, 255);
                    }
        }
    }
}

/// <summary>
/// Reading beyond the end is an error: the decoder takes it for zeros, and can wait for a marker there forever.
/// </summary>
internal sealed class StrictStream(Stream inner) : Stream
{
    public override bool CanRead => true;
    public override bool CanSeek => true;
    public override bool CanWrite => false;
    public override long Length => inner.Length;
    public override long Position { get => inner.Position; set => inner.Position = value; }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        int read = inner.Read(buffer);
        return read > 0 || buffer.IsEmpty ? read : throw End();
    }

    public override int ReadByte() => inner.ReadByte() is var value and >= 0 ? value : throw End();

    public override long Seek(long offset, SeekOrigin origin) => inner.Seek(offset, origin);

    public override void Flush() { }

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private EndOfStreamException End() => new($"the file ends at byte {inner.Length}");
}
