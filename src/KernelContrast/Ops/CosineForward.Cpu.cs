using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// s = X·Yᵀ of dense rows. Items are a block of rows times some panels of columns. Where Y is X, a block forms the tiles
/// from its diagonal on and writes them a second time, mirrored: x_i·x_j and x_j·x_i are the same products summed in the same order.
/// </summary>
internal unsafe struct CosineForward
{
    // A matrix that no cache holds is not worth a cache's room, nor the fetch of each line before it is overwritten.
    private const long StreamedBytes = 32L << 20;

    private float* _similarities, _x, _y, _left, _right, _scratch;
    private int _rows, _columns, _dim, _panelsPerPart, _parts, _panelsPerItem, _packItems;
    private bool _symmetric, _streams;

    /// <summary>Rows of half a block: whole tiles, and whole cache lines when they lie along a row of the mirrored matrix.</summary>
    private static int HalfRows<T>() where T : struct, ISimd<T> => T.Width == 16 ? 112 : 96;

    internal static void Run(CpuDevice cpu, float* similarities, float* x, float* y, int rows, int columns, int dim)
    {
        switch (Simd.Bits)
        {
            case 512: Run<F512>(cpu, similarities, x, y, rows, columns, dim); break;
            case 256: Run<F256>(cpu, similarities, x, y, rows, columns, dim); break;
            default: Run<F128>(cpu, similarities, x, y, rows, columns, dim); break;
        }
    }

    private static void Run<T>(CpuDevice cpu, float* similarities, float* x, float* y, int rows, int columns, int dim) where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count, width = 2 * T.Width, tileRows = Tile.MaxRows<T>(), half = HalfRows<T>();
        int blocks = Gemm.CeilDivide(rows, 2 * half), panels = Gemm.CeilDivide(columns, width), tiles = Gemm.CeilDivide(rows, tileRows);
        long leftBytes = 4L * tiles * tileRows * dim, rightBytes = 4L * panels * width * dim, scratchBytes = 8L * half * width * threads;
        var job = new CosineForward
        {
            _similarities = similarities,
            _x = x,
            _y = y,
            _left = (float*)cpu.Pool.Rent(leftBytes),
            _right = (float*)cpu.Pool.Rent(rightBytes),
            _scratch = (float*)cpu.Pool.Rent(scratchBytes),
            _rows = rows,
            _columns = columns,
            _dim = dim,
            _symmetric = x == y,
            _streams = 4L * rows * columns >= StreamedBytes && (nint)similarities % 64 == 0 && columns % 16 == 0,
        };
        job._panelsPerPart = (int)Math.Clamp((long)blocks * panels / (16L * threads), Math.Min(4, panels), panels);
        job._parts = Gemm.CeilDivide(panels, job._panelsPerPart);
        job._panelsPerItem = (int)Math.Max(1, CpuGrain.Elementwise / Math.Max(1, (long)width * dim));
        job._packItems = Gemm.CeilDivide(panels, job._panelsPerItem);
        int leftItems = Gemm.CeilDivide(tiles, job._panelsPerItem);
        cpu.Workers.For(job._packItems + leftItems, ref job, &PackSides<T>);
        cpu.Workers.For(blocks * job._parts, ref job, &Multiply<T>);
        cpu.Pool.Return((nint)job._left, leftBytes);
        cpu.Pool.Return((nint)job._right, rightBytes);
        cpu.Pool.Return((nint)job._scratch, scratchBytes);
    }

    /// <summary>Items are the right side's, then the left side's.</summary>
    private static void PackSides<T>(ref CosineForward job, int worker, int item) where T : struct, ISimd<T>
    {
        bool right = item < job._packItems;
        if (!right) item -= job._packItems;
        int width = right ? 2 * T.Width : Tile.MaxRows<T>(), rows = right ? job._columns : job._rows, dim = job._dim;
        float* from = right ? job._y : job._x, to = right ? job._right : job._left;
        int end = (int)Math.Min(rows, (item + 1L) * job._panelsPerItem * width);
        for (int row = item * job._panelsPerItem * width; row < end; row += width)
            Pack.Transposed(to + (long)row * dim, from + (long)row * dim, dim, Math.Min(width, rows - row), width, dim);
    }

    private static void Multiply<T>(ref CosineForward job, int worker, int item) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, half = HalfRows<T>(), blockPanels = 2 * half / width;
        int block = item / job._parts, part = item % job._parts, panels = Gemm.CeilDivide(job._columns, width);
        int first = part * job._panelsPerPart, end = Math.Min(panels, first + job._panelsPerPart);
        if (job._symmetric) first = Math.Max(first, block * blockPanels);
        int row0 = 2 * half * block, rowEnd = Math.Min(job._rows, row0 + 2 * half);
        for (int panel = first; panel < end; panel++)
            for (int row = row0; row < rowEnd; row += half)
                // The square on the diagonal is formed whole.
                Panel<T>(ref job, job._scratch + 2L * half * width * worker, row, Math.Min(half, rowEnd - row), panel, job._symmetric && panel >= (block + 1) * blockPanels);
        if (job._streams) Simd.FenceStreams();
    }

    private static void Panel<T>(ref CosineForward job, float* scratch, int row0, int rows, int panel, bool mirrored) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, half = HalfRows<T>(), tileRows = Tile.MaxRows<T>(), dim = job._dim, columns = job._columns;
        int column = panel * width, count = Math.Min(width, columns - column);
        bool direct = !job._streams && !mirrored;
        float* output = job._similarities + (long)row0 * columns + column;
        float* zeros = stackalloc float[width];
        new Span<float>(zeros, width).Clear();
        var tile = new Tile { ARow = 4, AStep = 4 * tileRows, B = job._right + (long)column * dim, BStep = 4 * width, Inner = dim, Initial0 = zeros };
        tile.OutRow = direct ? columns : width;
        for (int row = 0; row < rows; row += tileRows)
        {
            tile.A0 = job._left + (long)(row0 + row) * dim;
            tile.Out0 = direct ? output + (long)row * columns : scratch + row * width;
            tile.Run<T>(Math.Min(tileRows, rows - row), direct ? count : width);
        }
        if (direct) return;
        Write<T>(output, columns, scratch, width, rows, count, job._streams);
        if (!mirrored) return;
        float* turned = scratch + half * width;
        Pack.Transpose(turned, half, scratch, width, rows, count);
        Write<T>(job._similarities + (long)column * columns + row0, columns, turned, half, count, rows, job._streams);
    }

    private static void Write<T>(float* to, long toStride, float* from, int fromStride, int rows, int columns, bool streams) where T : struct, ISimd<T>
    {
        for (int row = 0; row < rows; row++, to += toStride, from += fromStride)
        {
            int i = 0;
            if (streams)
                for (; i + T.Width <= columns; i += T.Width) T.StoreStreaming(to + i, T.Load(from + i));
            else
                for (; i + T.Width <= columns; i += T.Width) T.Store(to + i, T.Load(from + i));
            if (i < columns) T.StorePartial(to + i, T.Load(from + i), columns - i);
        }
    }
}
