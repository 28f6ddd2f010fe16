using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The gradient of a convolution's weight: for every filter row r, the product of grad_yᵀ [K, pixels] with the padded
/// input's [pixels, S·C] floats under that row, which lies in memory as it is stored, [K,R,S,C].
/// </summary>
/// <remarks>
/// The work is shared by images, each share with sums of its own that are added at the end, or, where those sums would
/// not fit a cache (deep layers: small images, many channels), by output channels and filter rows, all reading one
/// padded copy of every image. A filter row shorter than a vector is multiplied the other way around, [S·C, pixels] ·
/// [pixels, K], so that the output channels fill the vectors.
/// </remarks>
internal unsafe struct ConvWeightPass
{
    // What one pass over all tiles of an item reads, of input and grad_y together.
    private const int ImageChunkBytes = 128 << 10, ChannelChunkBytes = 512 << 10;
    // Sums of one share that are still cheap to read and write once per chunk.
    private const int LargestShare = 320 << 10;

    public float* GradWeight, GradY, X;
    public Conv2dOp.Geometry Size;

    private int _shares, _chunk, _band, _paddedWidth, _channelBlock, _filterRows;
    private bool _copies, _swapped;
    private float* _sums, _scratch;
    private long _scratchFloats, _imageFloats;

    private readonly int Columns => Size.KernelWidth * Size.Channels;

    private readonly long Count => (long)Size.Filters * Size.KernelHeight * Columns;

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
        _paddedWidth = (Size.OutWidth - 1) * Size.Stride + Size.KernelWidth;
        // Whole vectors of the input are read; where they would reach past its end, a copy has room.
        _copies = Size.Padding > 0 || Columns % T.Width != 0;
        if (!_copies) _paddedWidth = Size.Width;
        int vectors = Gemm.CeilDivide(Size.Filters, T.Width);
        _swapped = Size.Filters % T.Width == 0 && 4 * (Columns + 1) * vectors < 3 * Size.Filters * Gemm.CeilDivide(Columns, T.Width);

        // Enough items for every thread, each with sums that fit a cache, of whole tiles.
        int block = (int)Math.Min(LargestShare / Math.Max(1, 4 * Count / Math.Max(1, Size.Filters)), Gemm.CeilDivide(Size.Filters, 2 * threads));
        _channelBlock = Math.Max(block, Tile.NextRows(Size.Filters, Tile.MaxRows<T>()));
        bool shareChannels = 4 * Count > LargestShare && !_swapped
            && Gemm.CeilDivide(Size.Filters, _channelBlock) * Size.KernelHeight >= 2 * threads;

        long chunkBytes = shareChannels ? ChannelChunkBytes : ImageChunkBytes;
        long rowBytes = 4L * (Size.Stride * _paddedWidth * Size.Channels + Size.OutWidth * Size.Filters);
        _band = (int)Math.Clamp(chunkBytes / rowBytes, Math.Min(2, Size.OutHeight), Size.OutHeight);
        _chunk = _band < Size.OutHeight ? 1 : (int)Math.Clamp(chunkBytes / (rowBytes * Size.OutHeight), 1, Math.Max(1, Size.Images));
        if (shareChannels) ShareChannels<T>(cpu); else ShareImages<T>(cpu);
    }

    private void ShareImages<T>(CpuDevice cpu) where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count;
        // More shares balance better, fewer are cheaper to add up.
        _shares = Math.Clamp(4 * Count < LargestShare ? 4 * threads : threads, 1, Math.Max(1, Size.Images));
        _chunk = Math.Min(_chunk, Math.Max(1, Size.Images / _shares));
        _imageFloats = PaddedRows(_band) * _paddedWidth * Size.Channels;
        _scratchFloats = _copies ? _chunk * _imageFloats + 2 * T.Width : 0;
        bool partial = _shares > 1 || _swapped;
        long partialFloats = partial ? Count * _shares : 0, bytes = 4 * (partialFloats + _scratchFloats * threads);
        float* memory = (float*)cpu.Pool.Rent(bytes);
        _sums = partial ? memory : GradWeight;
        _scratch = memory + partialFloats;
        cpu.Workers.For(_shares, ref this, &AddShare<T>);
        if (_swapped) ReduceSwapped();
        else if (partial) Reduce(cpu);
        cpu.Pool.Return((nint)memory, bytes);
    }

    private void ShareChannels<T>(CpuDevice cpu) where T : struct, ISimd<T>
    {
        _sums = GradWeight;
        _imageFloats = PaddedRows(Size.OutHeight) * _paddedWidth * Size.Channels;
        long bytes = _copies ? 4 * (Size.Images * _imageFloats + 2 * T.Width) : 0;
        _scratch = _copies ? (float*)cpu.Pool.Rent(bytes) : X;
        if (_copies) cpu.Workers.For(Size.Images, ref this, &CopyImage);
        else _imageFloats = (long)Size.Height * _paddedWidth * Size.Channels;
        // All filter rows together read the images once, apart they are more items for many threads.
        int blocks = Gemm.CeilDivide(Size.Filters, _channelBlock);
        _filterRows = blocks >= 2 * cpu.Workers.Count ? Size.KernelHeight : 1;
        cpu.Workers.For(blocks * (Size.KernelHeight / _filterRows), ref this, &AddChannels<T>);
        if (_copies) cpu.Pool.Return((nint)_scratch, bytes);
    }

    private readonly long PaddedRows(int outRows) => (outRows - 1L) * Size.Stride + Size.KernelHeight;

    private static void AddShare<T>(ref ConvWeightPass pass, int worker, int share) where T : struct, ISimd<T>
    {
        ref readonly Conv2dOp.Geometry size = ref pass.Size;
        float* sums = pass._sums + share * pass.Count, scratch = pass._scratch + worker * pass._scratchFloats;
        Clear(sums, pass.Count);
        long first = (long)size.Images * share / pass._shares, end = (long)size.Images * (share + 1) / pass._shares;
        long imageFloats = (long)size.Height * size.Width * size.Channels;
        for (long image = first; image < end; image += pass._chunk)
        {
            int images = (int)Math.Min(pass._chunk, end - image);
            for (int row = 0; row < size.OutHeight; row += pass._band)
            {
                int rows = Math.Min(pass._band, size.OutHeight - row);
                float* x = pass.X + image * imageFloats + (long)row * size.Stride * size.Width * size.Channels;
                for (int i = 0; pass._copies && i < images; i++)
                    PaddedCopy.Run(scratch + i * pass._imageFloats, (int)pass.PaddedRows(rows), pass._paddedWidth,
                        pass.X + (image + i) * imageFloats, size.Height, size.Width, size.Channels, size.Padding - row * size.Stride, size.Padding);
                float* gradY = pass.GradY + (image * size.OutHeight + row) * size.OutWidth * size.Filters;
                Tile tile = pass.MakeTile(gradY, pass._copies ? scratch : x, pass._copies ? pass._imageFloats : imageFloats, images, rows);
                for (int r = 0; r < size.KernelHeight; r++)
                {
                    if (pass._swapped) r += pass.AddRowSwapped<T>(tile, sums, r);
                    else pass.AddRow<T>(tile, sums, r, 0, size.Filters);
                }
            }
        }
    }

    private static void CopyImage(ref ConvWeightPass pass, int worker, int image)
    {
        ref readonly Conv2dOp.Geometry size = ref pass.Size;
        PaddedCopy.Run(pass._scratch + image * pass._imageFloats, (int)pass.PaddedRows(size.OutHeight), pass._paddedWidth,
            pass.X + (long)image * size.Height * size.Width * size.Channels, size.Height, size.Width, size.Channels, size.Padding, size.Padding);
    }

    private static void AddChannels<T>(ref ConvWeightPass pass, int worker, int item) where T : struct, ISimd<T>
    {
        ref readonly Conv2dOp.Geometry size = ref pass.Size;
        int parts = size.KernelHeight / pass._filterRows, firstRow = item % parts * pass._filterRows;
        int channel = item / parts * pass._channelBlock, end = Math.Min(size.Filters, channel + pass._channelBlock);
        for (int k = channel; k < end; k++)
            Clear(pass._sums + ((long)k * size.KernelHeight + firstRow) * pass.Columns, (long)pass._filterRows * pass.Columns);
        for (int image = 0; image < size.Images; image += pass._chunk)
            for (int row = 0; row < size.OutHeight; row += pass._band)
            {
                float* x = pass._scratch + image * pass._imageFloats + (long)row * size.Stride * pass._paddedWidth * size.Channels;
                float* gradY = pass.GradY + ((long)image * size.OutHeight + row) * size.OutWidth * size.Filters;
                Tile tile = pass.MakeTile(gradY, x, pass._imageFloats, Math.Min(pass._chunk, size.Images - image), Math.Min(pass._band, size.OutHeight - row));
                for (int r = firstRow; r < firstRow + pass._filterRows; r++) pass.AddRow<T>(tile, pass._sums, r, channel, end);
            }
    }

    /// <summary>A tile that sums over pixels, its rows taken from grad_y and its columns from the input.</summary>
    private readonly Tile MakeTile(float* gradY, float* x, long xImage, int images, int rows) => new()
    {
        A0 = gradY,
        ARow = 4,
        AStep = 4 * Size.Filters,
        AOuter = (nint)(4L * Size.OutWidth * Size.Filters),
        ABlock = (nint)(4L * Size.OutHeight * Size.OutWidth * Size.Filters),
        B = x,
        BStep = 4 * Size.Stride * Size.Channels,
        BOuter = (nint)(4L * Size.Stride * _paddedWidth * Size.Channels),
        BBlock = (nint)(4 * xImage),
        Blocks = images,
        Outer = rows,
        Inner = Size.OutWidth,
    };

    /// <summary>sums[k, r, :] += … for the output channels from first to end.</summary>
    private readonly void AddRow<T>(Tile tile, float* sums, int r, int first, int end) where T : struct, ISimd<T>
    {
        float* gradY = tile.A0, x = tile.B + (long)r * _paddedWidth * Size.Channels;
        long filter = (long)Size.KernelHeight * Columns;
        tile.InitialRow = tile.OutRow = (nint)filter;
        for (int column = 0; column < Columns; column += 2 * T.Width)
            for (int channel = first; channel < end;)
            {
                int channels = Tile.NextRows(end - channel, Tile.MaxRows<T>());
                tile.A0 = gradY + channel;
                tile.B = x + column;
                tile.Initial0 = tile.Out0 = sums + channel * filter + (long)r * Columns + column;
                tile.Run<T>(channels, Math.Min(2 * T.Width, Columns - column));
                channel += channels;
            }
    }

    /// <summary>
    /// sums[r, s·C + c, :] += …, and of the next filter row too where both fit a tile. Returns how many more rows it did.
    /// </summary>
    private readonly int AddRowSwapped<T>(Tile tile, float* sums, int r) where T : struct, ISimd<T>
    {
        float* gradY = tile.A0, x = tile.B + (long)r * _paddedWidth * Size.Channels;
        (tile.AStep, tile.BStep) = (tile.BStep, tile.AStep);
        (tile.AOuter, tile.BOuter) = (tile.BOuter, tile.AOuter);
        (tile.ABlock, tile.BBlock) = (tile.BBlock, tile.ABlock);
        tile.InitialRow = tile.OutRow = Size.Filters;
        bool pair = Columns <= Tile.MaxPair<T>() && r + 1 < Size.KernelHeight;
        for (int channel = 0; channel < Size.Filters; channel += 2 * T.Width)
        {
            int channels = Math.Min(2 * T.Width, Size.Filters - channel);
            tile.B = gradY + channel;
            for (int column = 0; column < Columns;)
            {
                int columns = Tile.NextRows(Columns - column, Tile.MaxRows<T>());
                tile.A0 = x + column;
                tile.Initial0 = tile.Out0 = sums + ((long)r * Columns + column) * Size.Filters + channel;
                if (pair)
                {
                    tile.A1 = tile.A0 + (long)_paddedWidth * Size.Channels;
                    tile.Initial1 = tile.Out1 = tile.Out0 + (long)Columns * Size.Filters;
                    tile.Run<T>(columns, 2, channels);
                }
                else tile.Run<T>(columns, channels);
                column += columns;
            }
        }
        return pair ? 1 : 0;
    }

    private static void Clear(float* floats, long count)
    {
        for (long i = 0; i < count; i += 1 << 20) new Span<float>(floats + i, (int)Math.Min(1 << 20, count - i)).Clear();
    }

    private readonly void Reduce(CpuDevice cpu)
    {
        nint total = (nint)GradWeight, partials = (nint)_sums;
        long count = Count;
        int shares = _shares;
        cpu.Workers.ForRanges(count, CpuGrain.Elementwise, (start, end) =>
        {
            var sum = new Span<float>((float*)total + start, (int)(end - start));
            new ReadOnlySpan<float>((float*)partials + start, sum.Length).CopyTo(sum);
            for (int share = 1; share < shares; share++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<float>((float*)partials + share * count + start, sum.Length), sum);
        });
    }

    private readonly void ReduceSwapped()
    {
        int taps = Size.KernelHeight * Columns;
        for (int tap = 0; tap < taps; tap++)
            for (int k = 0; k < Size.Filters; k++)
            {
                float sum = 0;
                for (int share = 0; share < _shares; share++) sum += _sums[share * Count + (long)tap * Size.Filters + k];
                GradWeight[(long)k * taps + tap] = sum;
            }
    }
}
