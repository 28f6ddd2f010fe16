namespace KernelContrast.Datasets;

/// <summary>
/// A data set whose images were each moved and turned once, fixed by a seed: harder than the original, where digits
/// stand upright in the middle, so that distances of raw pixels no longer tell them apart.
/// </summary>
/// <remarks>
/// Image i is turned about its middle by an angle uniform in ±20° and shifted by amounts uniform in ±6 pixels,
/// in one bilinear pass, black outside, rounded to bytes. Numbers: Philox with key = seed and counter
/// (0, i, 0, 0x4D ≪ 24).
/// </remarks>
public sealed class MovedDigits : IImageDataset
{
    private const uint Domain = 0x4Du << 24;

    private readonly IImageDataset _data;
    private readonly MemoryDataset _moved;

    /// <summary>Moves all images of <paramref name="data"/>.</summary>
    /// <param name="data">The originals.</param>
    /// <param name="seed">Give training and test images different ones.</param>
    /// <param name="maxShift">In pixels.</param>
    /// <param name="maxDegrees">In degrees.</param>
    public MovedDigits(IImageDataset data, ulong seed, float maxShift = 6, float maxDegrees = 20)
    {
        ArgumentNullException.ThrowIfNull(data);
        _data = data;
        int size = data.PixelsPerImage;
        var pixels = new byte[checked(data.Count * size)];
        Parallel.For(0, data.Count, () => new byte[size], (i, _, original) =>
        {
            data.Read(i, original);
            var (turn, right, down, _) = Philox.Block(0, (uint)i, 0, Domain, (uint)seed, (uint)(seed >> 32));
            Move(original, pixels.AsSpan(i * size, size), data.Channels, data.Height, data.Width,
                double.DegreesToRadians(Either(turn) * maxDegrees), Either(right) * maxShift, Either(down) * maxShift);
            return original;
        }, _ => { });
        _moved = new MemoryDataset(pixels, data.Count > 0 && data.Label(0) >= 0 ? data.Labels() : null,
            data.Channels, data.Height, data.Width, data.ClassNames);

        static double Either(uint bits) => 2 * Philox.ToUnit(bits) - 1;
    }

    /// <inheritdoc/>
    public int Count => _moved.Count;

    /// <inheritdoc/>
    public int Channels => _moved.Channels;

    /// <inheritdoc/>
    public int Height => _moved.Height;

    /// <inheritdoc/>
    public int Width => _moved.Width;

    /// <inheritdoc/>
    public int ClassCount => _data.ClassCount;

    /// <inheritdoc/>
    public IReadOnlyList<string> ClassNames => _data.ClassNames;

    /// <inheritdoc/>
    public bool IsInMemory => true;

    /// <inheritdoc/>
    public void Read(int index, Span<byte> pixels) => _moved.Read(index, pixels);

    /// <inheritdoc/>
    public int Label(int index) => _moved.Label(index);

    // What is seen turns counter-clockwise by the angle, then moves right and down.
    internal static void Move(ReadOnlySpan<byte> from, Span<byte> to, int channels, int height, int width, double angle, double right, double down)
    {
        double cos = Math.Cos(angle), sin = Math.Sin(angle);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
            {
                double u = x - (width - 1) / 2.0 - right, v = y - (height - 1) / 2.0 - down;
                double sx = cos * u - sin * v + (width - 1) / 2.0, sy = sin * u + cos * v + (height - 1) / 2.0;
                int left = (int)Math.Floor(sx), top = (int)Math.Floor(sy);
                double fx = sx - left, fy = sy - top;
                for (int c = 0; c < channels; c++)
                {
                    ReadOnlySpan<byte> plane = from.Slice(c * height * width, height * width);
                    double upper = (1 - fx) * Pixel(plane, left, top) + fx * Pixel(plane, left + 1, top);
                    double lower = (1 - fx) * Pixel(plane, left, top + 1) + fx * Pixel(plane, left + 1, top + 1);
                    to[(c * height + y) * width + x] = (byte)Math.Round((1 - fy) * upper + fy * lower);
                }
            }

        double Pixel(ReadOnlySpan<byte> plane, int px, int py) =>
            (uint)px < (uint)width && (uint)py < (uint)height ? plane[py * width + px] : 0;
    }
}
