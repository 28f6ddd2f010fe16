using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The gradient of a convolution's weight: for every filter row r, the product of grad_yᵀ [K, pixels] with the padded
/// input's [pixels, S·C] floats under that row, which lies in memory as it is stored, [K,R,S,C].
/// </summary>
internal unsafe struct ConvWeightPass
{
    // Of padded input and grad_y together: what a band of rows of one image keeps in the L1 cache, nearly.
    private const int BandBytes = 48 << 10;

    public float* GradWeight, GradY, X;
    public Conv2dOp.Geometry Size;

    private int _groups, _band, _paddedWidth;
    private bool _copies;
    private float* _partials, _scratch;
    private long _scratchFloats;

    private readonly long Count => (long)Size.Filters * Size.KernelHeight * Size.KernelWidth * Size.Channels;

    internal void Run(CpuDevice cpu)
    {
        switch (Simd.Bits)
        {
            case 512: Run<F512>(cpu); break;
            case 256: Run<F256>(cpu); break;
            default: Run<F128>(cpu); break;
        }
    }

    private void Run<T>(CpuDevice cpu) where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count;
        // Every group of images has its own sums: more groups balance better, fewer are cheaper to add up.
        _groups = Math.Clamp(Count < 65536 ? 4 * threads : threads, 1, Math.Max(1, Size.Images));
        _paddedWidth = (Size.OutWidth - 1) * Size.Stride + Size.KernelWidth;
        // Whole vectors of the input are read; where they would reach past its end, a copy has room.
        _copies = Size.Padding > 0 || Size.KernelWidth * Size.Channels % T.Width != 0 || _paddedWidth > Size.Width;
        if (!_copies) _paddedWidth = Size.Width;
        long rowBytes = 4L * (Size.Stride * _paddedWidth * Size.Channels + Size.OutWidth * Size.Filters);
        _band = (int)Math.Clamp(BandBytes / Math.Max(1, rowBytes), Math.Min(2, Size.OutHeight), Size.OutHeight);
        _scratchFloats = _copies ? (long)((_band - 1) * Size.Stride + Size.KernelHeight) * _paddedWidth * Size.Channels + 2 * T.Width : 0;
        long partialFloats = _groups > 1 ? Count * _groups : 0;
        long bytes = 4 * (partialFloats + _scratchFloats * threads);
        float* memory = (float*)cpu.Pool.Rent(bytes);
        _partials = _groups > 1 ? memory : GradWeight;
        _scratch = memory + partialFloats;
        cpu.Workers.For(_groups, ref this, &Accumulate<T>);
        if (_groups > 1) Reduce(cpu);
        cpu.Pool.Return((nint)memory, bytes);
    }

    private static void Accumulate<T>(ref ConvWeightPass pass, int worker, int group) where T : struct, ISimd<T>
    {
        float* sums = pass._partials + group * pass.Count;
        for (long i = 0; i < pass.Count; i += 1 << 20)
            new Span<float>(sums + i, (int)Math.Min(1 << 20, pass.Count - i)).Clear();
        float* scratch = pass._scratch + worker * pass._scratchFloats;
        long image0 = (long)pass.Size.Images * group / pass._groups, image1 = (long)pass.Size.Images * (group + 1) / pass._groups;
        for (long image = image0; image < image1; image++)
        {
            float* x = pass.X + image * pass.Size.Height * pass.Size.Width * pass.Size.Channels;
            for (int row = 0; row < pass.Size.OutHeight; row += pass._band)
            {
                int rows = Math.Min(pass._band, pass.Size.OutHeight - row);
                float* from = x + (long)row * pass.Size.Stride * pass.Size.Width * pass.Size.Channels;
                if (pass._copies)
                {
                    PaddedCopy.Run(scratch, (rows - 1) * pass.Size.Stride + pass.Size.KernelHeight, pass._paddedWidth,
                        x, pass.Size.Height, pass.Size.Width, pass.Size.Channels, pass.Size.Padding - row * pass.Size.Stride, pass.Size.Padding);
                    from = scratch;
                }
                AddBand<T>(ref pass, sums, pass.GradY + (image * pass.Size.OutHeight + row) * pass.Size.OutWidth * pass.Size.Filters, from, rows);
            }
        }
    }

    private static void AddBand<T>(ref ConvWeightPass pass, float* sums, float* gradY, float* x, int rows) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, columns = pass.Size.KernelWidth * pass.Size.Channels;
        long filter = (long)pass.Size.KernelHeight * columns, sourceRow = (long)pass._paddedWidth * pass.Size.Channels;
        var tile = new Tile
        {
            ARow = 4,
            AStep = 4 * pass.Size.Filters,
            AOuter = (nint)(4L * pass.Size.OutWidth * pass.Size.Filters),
            BStep = 4 * pass.Size.Stride * pass.Size.Channels,
            BOuter = (nint)(4 * pass.Size.Stride * sourceRow),
            Outer = rows,
            Inner = pass.Size.OutWidth,
            InitialRow = (nint)filter,
            OutRow = (nint)filter,
        };
        for (int r = 0; r < pass.Size.KernelHeight; r++)
            for (int column = 0; column < columns; column += width)
                for (int channel = 0; channel < pass.Size.Filters;)
                {
                    int channels = Tile.NextRows(pass.Size.Filters - channel, Tile.MaxRows<T>());
                    tile.A0 = gradY + channel;
                    tile.B = x + r * sourceRow + column;
                    tile.Initial0 = tile.Out0 = sums + channel * filter + (long)r * columns + column;
                    tile.Run<T>(channels, Math.Min(width, columns - column));
                    channel += channels;
                }
    }

    private readonly void Reduce(CpuDevice cpu)
    {
        nint total = (nint)GradWeight, partials = (nint)_partials;
        long count = Count;
        int groups = _groups;
        cpu.Workers.ForRanges(count, CpuGrain.Elementwise, (start, end) =>
        {
            var sum = new Span<float>((float*)total + start, (int)(end - start));
            new ReadOnlySpan<float>((float*)partials + start, sum.Length).CopyTo(sum);
            for (int group = 1; group < groups; group++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<float>((float*)partials + group * count + start, sum.Length), sum);
        });
    }
}
