using System.Runtime.Intrinsics.X86;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// sums_j = Σ_i W_ij z_i, where W is G, its transpose or their sum. A block of W is copied into panels, as it lies or turned,
/// and multiplied from there: G is never held a second time, and Z is packed once.
/// Each element is summed in the order of i, whatever the number of threads.
/// </summary>
internal unsafe struct CosineBackward
{
    // In the L2 cache: a block of W, the next one, and as many rows of Z and sums of the block's columns.
    private const int Depth = 256, BlockColumns = 128, SumFloats = 1 << 17;

    private float* _sums, _z, _g, _packed, _scratch;
    private Turn _turn;
    private long _gStride, _scratchFloats;
    private int _count, _columns, _dim, _depth, _blockColumns, _groups, _tiles, _rowsPerItem;

    /// <summary>How W is made of G.</summary>
    internal enum Turn
    {
        /// <summary>W = G.</summary>
        Straight,
        /// <summary>W = Gᵀ.</summary>
        Turned,
        /// <summary>W = G + Gᵀ.</summary>
        Both,
    }

    /// <summary>Overwrites sums[columns, dim] with Wᵀ·z, of W[count, columns] and dense z[count, dim].</summary>
    /// <param name="cpu">The device.</param>
    /// <param name="sums">[columns, dim].</param>
    /// <param name="g">Dense: [count, columns], turned [columns, count].</param>
    /// <param name="turn">How W is made of g.</param>
    /// <param name="z">[count, dim].</param>
    /// <param name="count">Terms of each sum.</param>
    /// <param name="columns">Columns of W.</param>
    /// <param name="dim">Elements of a row of z.</param>
    internal static void Run(CpuDevice cpu, float* sums, float* g, Turn turn, float* z, int count, int columns, int dim)
    {
        switch (Simd.Bits)
        {
            case 512: Run<F512>(cpu, sums, g, turn, z, count, columns, dim); break;
            case 256: Run<F256>(cpu, sums, g, turn, z, count, columns, dim); break;
            default: Run<F128>(cpu, sums, g, turn, z, count, columns, dim); break;
        }
    }

    private static void Run<T>(CpuDevice cpu, float* sums, float* g, Turn turn, float* z, int count, int columns, int dim) where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count, width = 2 * T.Width, tileRows = Tile.MaxRows<T>();
        int depth = Gemm.CeilDivide(count, Gemm.CeilDivide(count, Depth));
        // A few blocks for each thread; where there are not enough columns for that, threads share the elements of z.
        int most = Math.Min(Math.Clamp(SumFloats / dim, width, BlockColumns), Gemm.CeilDivide(columns, 4 * threads));
        int blockColumns = Gemm.CeilDivide(most, width) * width, blocks = Gemm.CeilDivide(columns, blockColumns);
        int tiles = Gemm.CeilDivide(dim, tileRows);
        var job = new CosineBackward
        {
            _sums = sums,
            _z = z,
            _g = g,
            _gStride = turn == Turn.Turned ? count : columns,
            _turn = turn,
            _count = count,
            _columns = columns,
            _dim = dim,
            _depth = depth,
            _blockColumns = blockColumns,
            _tiles = tiles,
            _groups = Math.Min(tiles, blocks >= threads ? 1 : Gemm.CeilDivide(threads, blocks)),
            _rowsPerItem = (int)Math.Max(1, CpuGrain.Elementwise / dim),
            _scratchFloats = ((long)blockColumns * (depth + dim) + 15) / 16 * 16,
        };
        long packedBytes = 4L * count * dim, scratchBytes = 4 * job._scratchFloats * threads;
        job._packed = (float*)cpu.Pool.Rent(packedBytes);
        job._scratch = (float*)cpu.Pool.Rent(scratchBytes);
        cpu.Workers.For(Gemm.CeilDivide(count, job._rowsPerItem), ref job, &PackRows);
        cpu.Workers.For(blocks * job._groups, ref job, &Multiply<T>);
        cpu.Pool.Return((nint)job._packed, packedBytes);
        cpu.Pool.Return((nint)job._scratch, scratchBytes);
    }

    /// <summary>The first element of z's tile of elements; tiles are nearly equal.</summary>
    private readonly int Element(int tile) => (int)((long)_dim * tile / _tiles);

    /// <summary>By tiles of elements: for every row, a tile's elements side by side.</summary>
    private static void PackRows(ref CosineBackward job, int worker, int item)
    {
        int first = item * job._rowsPerItem, end = Math.Min(job._count, first + job._rowsPerItem);
        for (int tile = 0; tile < job._tiles; tile++)
        {
            int element = job.Element(tile), elements = job.Element(tile + 1) - element;
            float* to = job._packed + (long)element * job._count;
            for (int i = first; i < end; i++)
                new ReadOnlySpan<float>(job._z + (long)i * job._dim + element, elements).CopyTo(new Span<float>(to + (long)i * elements, elements));
        }
    }

    private static void Multiply<T>(ref CosineBackward job, int worker, int item) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, column = item / job._groups * job._blockColumns, columns = Math.Min(job._blockColumns, job._columns - column);
        int group = item % job._groups, firstTile = job._tiles * group / job._groups, endTile = job._tiles * (group + 1) / job._groups;
        int firstElement = job.Element(firstTile), pitch = job._blockColumns;
        float* block = job._scratch + job._scratchFloats * worker, sums = block + (long)pitch * job._depth;
        float* zeros = stackalloc float[width];
        new Span<float>(zeros, width).Clear();
        var tile = new Tile { ARow = 4, BStep = 4 * width, OutRow = pitch };
        for (int i = 0; i < job._count; i += job._depth)
        {
            int depth = tile.Inner = Math.Min(job._depth, job._count - i);
            PackBlock<T>(ref job, block, i, depth, column, columns);
            // The next block is fetched between this one's tiles: its rows lie far apart, and copying would wait for each.
            int nextDepth = Math.Min(job._depth, job._count - i - depth), calls = Gemm.CeilDivide(columns, width) * (endTile - firstTile), call = 0;
            for (int c = 0; c < columns; c += width)
                for (int t = firstTile; t < endTile; t++)
                {
                    int element = job.Element(t), elements = job.Element(t + 1) - element;
                    tile.AStep = 4 * elements;
                    tile.A0 = job._packed + (long)element * job._count + (long)i * elements;
                    tile.B = block + (long)c * depth;
                    tile.Out0 = sums + (long)(element - firstElement) * pitch + c;
                    tile.Initial0 = i == 0 ? zeros : tile.Out0;
                    tile.InitialRow = i == 0 ? 0 : pitch;
                    tile.Run<T>(elements, width);
                    Fetch(job, i + depth, nextDepth, column, columns, call, calls);
                    call++;
                }
        }
        Pack.Transpose(job._sums + (long)column * job._dim + firstElement, job._dim, sums, pitch, job.Element(endTile) - firstElement, columns);
    }

    /// <summary>The share of one call of several in the fetch of a block of W into the L2 cache.</summary>
    private static void Fetch(in CosineBackward job, int i, int depth, int column, int columns, int call, int calls)
    {
        if (!Sse.IsSupported || depth <= 0) return;
        if (job._turn != Turn.Turned)
            for (int k = (int)((long)depth * call / calls), end = (int)((long)depth * (call + 1) / calls); k < end; k++) FetchRow(job._g + (i + k) * job._gStride + column, columns);
        if (job._turn != Turn.Straight)
            for (int c = (int)((long)columns * call / calls), end = (int)((long)columns * (call + 1) / calls); c < end; c++) FetchRow(job._g + (column + c) * job._gStride + i, depth);

        static void FetchRow(float* row, int count)
        {
            for (int e = 0; e < count; e += 16) Sse.Prefetch1(row + e);
        }
    }

    /// <summary>Panels of two vectors of columns: W[i … i + depth, column … column + columns], zeros past the last column.</summary>
    private static void PackBlock<T>(ref CosineBackward job, float* block, int i, int depth, int column, int columns) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width;
        if (job._turn != Turn.Straight)
            for (int c = 0; c < columns; c += width)
                Pack.Transposed(block + (long)c * depth, job._g + (column + c) * job._gStride + i, job._gStride, Math.Min(width, columns - c), width, depth);
        if (job._turn == Turn.Turned) return;
        int whole = columns / width * width;
        for (int k = 0; k < depth; k++)
        {
            float* from = job._g + (i + k) * job._gStride + column, to = block + k * width;
            if (job._turn == Turn.Straight)
                for (int c = 0; c < whole; c += width, to += depth * width)
                {
                    T.Store(to, T.Load(from + c));
                    T.Store(to + T.Width, T.Load(from + c + T.Width));
                }
            else
                for (int c = 0; c < whole; c += width, to += depth * width)
                {
                    T.Store(to, T.Add(T.Load(to), T.Load(from + c)));
                    T.Store(to + T.Width, T.Add(T.Load(to + T.Width), T.Load(from + c + T.Width)));
                }
            for (int c = whole; c < columns; c++) to[c - whole] = job._turn == Turn.Straight ? from[c] : to[c - whole] + from[c];
            if (whole < columns && job._turn == Turn.Straight) new Span<float>(to + columns - whole, width - (columns - whole)).Clear();
        }
    }
}
