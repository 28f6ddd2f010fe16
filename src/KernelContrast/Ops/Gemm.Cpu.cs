using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// Matrix products on packed panels, blocked for the caches (Goto, van de Geijn, "Anatomy of high-performance matrix
/// multiplication", 2008). Each element is summed in one order, whatever the number of threads.
/// </summary>
internal static unsafe partial class Gemm
{
    // A panel of B, Depth × 2 vectors, stays in the L1 cache; a block of A, BlockRows × Depth, in L2; all of packed B in L3.
    private const int Depth = 384, BlockRows = 16 * 14, BlockColumns = 4096;

    /// <summary>
    /// c[m,n] = op(a)[m,k] · op(b)[k,n] (+ bias[n] to every row), and its negative numbers 0 with <paramref name="relu"/>;
    /// dense row-major, overwriting c.
    /// </summary>
    internal static void Run(CpuDevice cpu, float* c, float* a, bool transposeA, float* b, bool transposeB, int m, int n, int k, float* bias = null, bool relu = false)
    {
        if (m == 0 || n == 0) return;
        switch (Simd.Bits)
        {
            case 512: Run<F512>(cpu, c, a, transposeA, b, transposeB, m, n, k, bias, relu); break;
            case 256: Run<F256>(cpu, c, a, transposeA, b, transposeB, m, n, k, bias, relu); break;
            default: Run<F128>(cpu, c, a, transposeA, b, transposeB, m, n, k, bias, relu); break;
        }
    }

    private static void Run<T>(CpuDevice cpu, float* c, float* a, bool transposeA, float* b, bool transposeB, int m, int n, int k, float* bias, bool relu)
        where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count, tileRows = Tile.MaxRows<T>(), tileColumns = 2 * T.Width;
        int depth = Even(k, Depth, 1);
        int columns = Even(n, BlockColumns, tileColumns);
        // As many row blocks as a multiple of the threads, so that none waits for the last.
        int blocks = CeilDivide(CeilDivide(m, BlockRows), threads) * threads;
        int rows = RoundUp(CeilDivide(m, blocks), tileRows);
        int rowBlocks = CeilDivide(m, rows);

        long packedBytes = 4L * depth * RoundUp(columns, tileColumns), blockFloats = RoundUp((long)depth * rows, 16);
        float* packed = (float*)cpu.Pool.Rent(packedBytes);
        float* scratch = (float*)cpu.Pool.Rent(4 * blockFloats * threads);
        var job = new Job
        {
            C = c,
            A = a,
            B = b,
            Bias = bias,
            M = m,
            N = n,
            K = k,
            TransposeA = transposeA,
            TransposeB = transposeB,
            Relu = relu,
            Packed = packed,
            Scratch = scratch,
            ScratchFloats = blockFloats,
            Rows = rows,
            RowBlocks = rowBlocks,
        };
        for (job.Column = 0; job.Column < n; job.Column += columns)
        {
            job.Columns = Math.Min(columns, n - job.Column);
            int panels = CeilDivide(job.Columns, tileColumns);
            // Few rows: let the threads share the columns too.
            job.ColumnGroups = Math.Min(panels, rowBlocks >= threads ? 1 : CeilDivide(threads, rowBlocks));
            job.K0 = 0;
            do
            {
                job.Depth = Math.Min(depth, k - job.K0);
                job.PanelsPerItem = Math.Max(CeilDivide(panels, 4 * threads), CeilDivide(4096, tileColumns * Math.Max(1, job.Depth)));
                cpu.Workers.For(CeilDivide(panels, job.PanelsPerItem), ref job, &PackB<T>);
                cpu.Workers.For(rowBlocks * job.ColumnGroups, ref job, &Multiply<T>);
                job.K0 += job.Depth;
            }
            while (job.K0 < k);
        }
        cpu.Pool.Return((nint)packed, packedBytes);
        cpu.Pool.Return((nint)scratch, 4 * blockFloats * threads);
    }

    private struct Job
    {
        public float* C, A, B, Bias, Packed, Scratch;
        public int M, N, K;
        public bool TransposeA, TransposeB, Relu;
        public long ScratchFloats;
        public int Rows, RowBlocks, Column, Columns, ColumnGroups, K0, Depth, PanelsPerItem;
    }

    private static void PackB<T>(ref Job job, int worker, int item) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, panels = CeilDivide(job.Columns, width);
        for (int panel = item * job.PanelsPerItem; panel < Math.Min(panels, (item + 1) * job.PanelsPerItem); panel++)
        {
            int column = job.Column + panel * width, count = Math.Min(width, job.Columns - panel * width);
            float* to = job.Packed + (long)panel * width * job.Depth;
            if (job.TransposeB) Pack.Transposed(to, job.B + (long)column * job.K + job.K0, job.K, count, width, job.Depth);
            else Pack.Straight(to, job.B + (long)job.K0 * job.N + column, job.N, count, width, job.Depth);
        }
    }

    private static void Multiply<T>(ref Job job, int worker, int item) where T : struct, ISimd<T>
    {
        int tileRows = Tile.MaxRows<T>(), width = 2 * T.Width;
        int row0 = item / job.ColumnGroups * job.Rows, rows = Math.Min(job.Rows, job.M - row0);
        int group = item % job.ColumnGroups, panels = CeilDivide(job.Columns, width);
        float* block = job.Scratch + worker * job.ScratchFloats;
        for (int row = 0; row < rows; row += tileRows)
        {
            int count = Math.Min(tileRows, rows - row);
            float* to = block + (long)row * job.Depth;
            if (job.TransposeA) Pack.Straight(to, job.A + (long)job.K0 * job.M + row0 + row, job.M, count, tileRows, job.Depth);
            else Pack.Transposed(to, job.A + (long)(row0 + row) * job.K + job.K0, job.K, count, tileRows, job.Depth);
        }

        float* zeros = stackalloc float[width];
        new Span<float>(zeros, width).Clear();
        var tile = new Tile { ARow = 4, AStep = 4 * tileRows, BStep = 4 * width, Blocks = 1, Outer = 1, Inner = job.Depth, OutRow = job.N };
        for (int panel = panels * group / job.ColumnGroups; panel < panels * (group + 1) / job.ColumnGroups; panel++)
        {
            int column = job.Column + panel * width, columns = Math.Min(width, job.Columns - panel * width);
            for (int row = 0; row < rows; row += tileRows)
            {
                tile.A0 = block + (long)row * job.Depth;
                tile.B = job.Packed + (long)panel * width * job.Depth;
                tile.Out0 = job.C + (long)(row0 + row) * job.N + column;
                if (job.K0 > 0) { tile.Initial0 = tile.Out0; tile.InitialRow = job.N; }
                else tile.Initial0 = job.Bias != null ? job.Bias + column : zeros;
                // A panel of at most one vector of columns is packed as wide as any other.
                tile.Run<T>(Math.Min(tileRows, rows - row), columns);
                if (job.Relu && job.K0 + job.Depth == job.K) Rectify<T>(tile.Out0, Math.Min(tileRows, rows - row), columns, job.N);
            }
        }
    }

    // c = max(c, 0) of a tile that was just written; NaN stays NaN.
    private static void Rectify<T>(float* c, int rows, int columns, int pitch) where T : struct, ISimd<T>
    {
        for (int row = 0; row < rows; row++, c += pitch)
        {
            int i = 0;
            for (; i + T.Width <= columns; i += T.Width) T.Store(c + i, T.SelectGreater(T.Zero, T.Load(c + i), T.Zero, T.Load(c + i)));
            for (; i < columns; i++) c[i] = 0 > c[i] ? 0 : c[i];
        }
    }

    internal static int CeilDivide(int a, int b) => (a + b - 1) / b;

    private static int RoundUp(int a, int multiple) => CeilDivide(a, multiple) * multiple;

    private static long RoundUp(long a, int multiple) => (a + multiple - 1) / multiple * multiple;

    /// <summary>The size of equal parts of <paramref name="length"/> no larger than <paramref name="most"/>, a multiple of something.</summary>
    private static int Even(int length, int most, int multiple) =>
        length == 0 ? 0 : RoundUp(CeilDivide(length, CeilDivide(length, most)), multiple);
}
