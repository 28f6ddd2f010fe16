using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// One tile of a matrix product: up to 14 rows of A times up to two vectors of columns of B. A row's element k is a
/// scalar to broadcast, B's row k a vector, so that packed panels, pixels of an image and transposed operands differ in
/// strides only: matrix products, convolutions and all their gradients run on this one kernel.
/// </summary>
/// <remarks>
/// The k loop is triple: <see cref="Blocks"/> of <see cref="Outer"/> runs of <see cref="Inner"/> steps (images, rows of
/// an image or a filter, what lies in a row). Rows come in one or two groups with a base address each, which may be two rows of an image.
/// Every element is summed in the order of k, so results do not depend on how the rows were cut into tiles.
/// </remarks>
internal unsafe struct Tile
{
    /// <summary>One block of one run, until said otherwise.</summary>
    public Tile() { }

    /// <summary>First row of either group, at k = 0.</summary>
    public float* A0, A1;
    /// <summary>Bytes from one row of A to the next, from one k to the next, one run to the next, one block to the next.</summary>
    public nint ARow, AStep, AOuter, ABlock;
    public float* B;
    /// <summary>Bytes from one k to the next, one run to the next, one block to the next.</summary>
    public nint BStep, BOuter, BBlock;
    public int Blocks = 1, Outer = 1, Inner;
    /// <summary>What the sums start from: zeros, a bias (row stride 0) or the output itself. Read before anything is written.</summary>
    public float* Initial0, Initial1;
    /// <summary>Floats from one row to the next.</summary>
    public nint InitialRow;
    public float* Out0, Out1;
    /// <summary>Floats from one row to the next.</summary>
    public nint OutRow;

    /// <summary>Most rows of one tile: 14 × 2 vectors and operands fill 32 registers, 6 × 2 fill 16.</summary>
    internal static int MaxRows<T>() where T : struct, ISimd<T> => T.Width == 16 ? 14 : 6;

    /// <summary>Most rows of each group when there are two.</summary>
    internal static int MaxPair<T>() where T : struct, ISimd<T> => T.Width == 16 ? 7 : 3;

    /// <summary>Rows to take next when so many remain: nearly equal tiles, even ones first.</summary>
    internal static int NextRows(int remaining, int max)
    {
        if (remaining <= max) return remaining;
        int tiles = (remaining + max - 1) / max;
        int rows = (remaining + tiles - 1) / tiles;
        return rows + (rows & 1);
    }

    /// <summary>
    /// Computes <paramref name="rows"/> ≤ <see cref="MaxRows{T}"/> rows and <paramref name="columns"/> ≤ 2 vectors of
    /// columns. The second group's addresses are derived from the first's.
    /// </summary>
    internal void Run<T>(int rows, int columns) where T : struct, ISimd<T>
    {
        if (rows <= Math.Min(7, MaxRows<T>())) { Run<T>(rows, 1, columns); return; }
        // An odd number of rows: the groups share one, which both compute alike.
        int group = (rows + 1) / 2, second = rows - group;
        A1 = (float*)((byte*)A0 + second * ARow);
        Initial1 = Initial0 + second * InitialRow;
        Out1 = Out0 + second * OutRow;
        Run<T>(group, 2, columns);
    }

    /// <summary>Computes <paramref name="groups"/> groups of <paramref name="rows"/> rows each.</summary>
    internal void Run<T>(int rows, int groups, int columns) where T : struct, ISimd<T>
    {
        int vectors = columns > T.Width ? 2 : 1;
        if (columns != vectors * T.Width) { RunPartial<T>(rows, groups, columns, vectors); return; }
        TileKernels<T>.Table[TileKernels<T>.Index(rows, groups, vectors)](ref this);
    }

    /// <summary>By way of a whole tile on the stack, since the last vector must not be written whole.</summary>
    [SkipLocalsInit]
    private void RunPartial<T>(int rows, int groups, int columns, int vectors) where T : struct, ISimd<T>
    {
        const int Row = 2 * 16, Group = 7 * Row;
        float* whole = stackalloc float[2 * Group];
        Tile tile = this;
        for (int group = 0; group < groups; group++)
        {
            float* initial = group == 0 ? Initial0 : Initial1;
            for (int r = 0; r < rows; r++)
            {
                var row = new Span<float>(whole + group * Group + r * Row, Row);
                new ReadOnlySpan<float>(initial + r * InitialRow, columns).CopyTo(row);
                row[columns..].Clear();
            }
        }
        tile.Initial0 = tile.Out0 = whole;
        tile.Initial1 = tile.Out1 = whole + Group;
        tile.InitialRow = tile.OutRow = Row;
        TileKernels<T>.Table[TileKernels<T>.Index(rows, groups, vectors)](ref tile);
        for (int group = 0; group < groups; group++)
        {
            float* output = group == 0 ? Out0 : Out1;
            for (int r = 0; r < rows; r++)
                new ReadOnlySpan<float>(whole + group * Group + r * Row, columns).CopyTo(new Span<float>(output + r * OutRow, columns));
        }
    }
}

/// <summary>A number known to the JIT, which drops the branches of a kernel that it rules out.</summary>
internal interface ICount
{
    static abstract int Value { get; }
}

internal static unsafe class TileKernels<T> where T : struct, ISimd<T>
{
    internal static readonly delegate*<ref Tile, void>[] Table = MakeTable();

    internal static int Index(int rows, int groups, int vectors) => (vectors * 2 + groups - 3) * 7 + rows - 1;

    private static delegate*<ref Tile, void>[] MakeTable()
    {
        var table = new delegate*<ref Tile, void>[28];
        Fill<N1, N1>(table);
        Fill<N2, N1>(table);
        Fill<N1, N2>(table);
        Fill<N2, N2>(table);
        return table;
    }

    private static void Fill<TGroups, TVectors>(delegate*<ref Tile, void>[] table)
        where TGroups : struct, ICount where TVectors : struct, ICount
    {
        int i = Index(1, TGroups.Value, TVectors.Value);
        table[i] = &Run<N1, TGroups, TVectors>;
        table[i + 1] = &Run<N2, TGroups, TVectors>;
        table[i + 2] = &Run<N3, TGroups, TVectors>;
        table[i + 3] = &Run<N4, TGroups, TVectors>;
        table[i + 4] = &Run<N5, TGroups, TVectors>;
        table[i + 5] = &Run<N6, TGroups, TVectors>;
        table[i + 6] = &Run<N7, TGroups, TVectors>;
    }

    // Four sets of accumulators, named by group (p, q) and vector (x, y). The JIT knows the three counts, keeps every
    // accumulator in a register and drops those of absent rows.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run<TRows, TGroups, TVectors>(ref Tile tile)
        where TRows : struct, ICount where TGroups : struct, ICount where TVectors : struct, ICount
    {
        T px0 = T.Zero, py0 = T.Zero, px1 = T.Zero, py1 = T.Zero, px2 = T.Zero, py2 = T.Zero, px3 = T.Zero, py3 = T.Zero, px4 = T.Zero, py4 = T.Zero, px5 = T.Zero, py5 = T.Zero, px6 = T.Zero, py6 = T.Zero;
        T qx0 = T.Zero, qy0 = T.Zero, qx1 = T.Zero, qy1 = T.Zero, qx2 = T.Zero, qy2 = T.Zero, qx3 = T.Zero, qy3 = T.Zero, qx4 = T.Zero, qy4 = T.Zero, qx5 = T.Zero, qy5 = T.Zero, qx6 = T.Zero, qy6 = T.Zero;
        float* initialP = tile.Initial0;
        { px0 = T.Load(initialP); if (TVectors.Value > 1) py0 = T.Load(initialP + T.Width); }
        if (TRows.Value > 1) { px1 = T.Load(initialP + tile.InitialRow); if (TVectors.Value > 1) py1 = T.Load(initialP + tile.InitialRow + T.Width); }
        if (TRows.Value > 2) { px2 = T.Load(initialP + 2 * tile.InitialRow); if (TVectors.Value > 1) py2 = T.Load(initialP + 2 * tile.InitialRow + T.Width); }
        if (TRows.Value > 3) { px3 = T.Load(initialP + 3 * tile.InitialRow); if (TVectors.Value > 1) py3 = T.Load(initialP + 3 * tile.InitialRow + T.Width); }
        if (TRows.Value > 4) { px4 = T.Load(initialP + 4 * tile.InitialRow); if (TVectors.Value > 1) py4 = T.Load(initialP + 4 * tile.InitialRow + T.Width); }
        if (TRows.Value > 5) { px5 = T.Load(initialP + 5 * tile.InitialRow); if (TVectors.Value > 1) py5 = T.Load(initialP + 5 * tile.InitialRow + T.Width); }
        if (TRows.Value > 6) { px6 = T.Load(initialP + 6 * tile.InitialRow); if (TVectors.Value > 1) py6 = T.Load(initialP + 6 * tile.InitialRow + T.Width); }
        if (TGroups.Value > 1)
        {
            float* initialQ = tile.Initial1;
            { qx0 = T.Load(initialQ); if (TVectors.Value > 1) qy0 = T.Load(initialQ + T.Width); }
            if (TRows.Value > 1) { qx1 = T.Load(initialQ + tile.InitialRow); if (TVectors.Value > 1) qy1 = T.Load(initialQ + tile.InitialRow + T.Width); }
            if (TRows.Value > 2) { qx2 = T.Load(initialQ + 2 * tile.InitialRow); if (TVectors.Value > 1) qy2 = T.Load(initialQ + 2 * tile.InitialRow + T.Width); }
            if (TRows.Value > 3) { qx3 = T.Load(initialQ + 3 * tile.InitialRow); if (TVectors.Value > 1) qy3 = T.Load(initialQ + 3 * tile.InitialRow + T.Width); }
            if (TRows.Value > 4) { qx4 = T.Load(initialQ + 4 * tile.InitialRow); if (TVectors.Value > 1) qy4 = T.Load(initialQ + 4 * tile.InitialRow + T.Width); }
            if (TRows.Value > 5) { qx5 = T.Load(initialQ + 5 * tile.InitialRow); if (TVectors.Value > 1) qy5 = T.Load(initialQ + 5 * tile.InitialRow + T.Width); }
            if (TRows.Value > 6) { qx6 = T.Load(initialQ + 6 * tile.InitialRow); if (TVectors.Value > 1) qy6 = T.Load(initialQ + 6 * tile.InitialRow + T.Width); }
        }
        nint row = tile.ARow, row3 = 3 * row, row5 = 5 * row, step = tile.AStep, bStep = tile.BStep;
        byte* blockP = (byte*)tile.A0, blockQ = (byte*)tile.A1, blockB = (byte*)tile.B;
        for (int block = tile.Blocks; block > 0; block--)
        {
            byte* runP = blockP, runQ = blockQ, runB = blockB;
            for (int outer = tile.Outer; outer > 0; outer--)
            {
                byte* p = runP, q = runQ, b = runB;
                for (int inner = tile.Inner; inner > 0; inner--)
                {
                    T x = T.Load((float*)b), y = TVectors.Value > 1 ? T.Load((float*)b + T.Width) : x, s;
                    { s = T.Create(*(float*)p); px0 = T.Fma(s, x, px0); if (TVectors.Value > 1) py0 = T.Fma(s, y, py0); }
                    if (TRows.Value > 1) { s = T.Create(*(float*)(p + row)); px1 = T.Fma(s, x, px1); if (TVectors.Value > 1) py1 = T.Fma(s, y, py1); }
                    if (TRows.Value > 2) { s = T.Create(*(float*)(p + 2 * row)); px2 = T.Fma(s, x, px2); if (TVectors.Value > 1) py2 = T.Fma(s, y, py2); }
                    if (TRows.Value > 3) { s = T.Create(*(float*)(p + row3)); px3 = T.Fma(s, x, px3); if (TVectors.Value > 1) py3 = T.Fma(s, y, py3); }
                    if (TRows.Value > 4) { s = T.Create(*(float*)(p + 4 * row)); px4 = T.Fma(s, x, px4); if (TVectors.Value > 1) py4 = T.Fma(s, y, py4); }
                    if (TRows.Value > 5) { s = T.Create(*(float*)(p + row5)); px5 = T.Fma(s, x, px5); if (TVectors.Value > 1) py5 = T.Fma(s, y, py5); }
                    if (TRows.Value > 6) { s = T.Create(*(float*)(p + 2 * row3)); px6 = T.Fma(s, x, px6); if (TVectors.Value > 1) py6 = T.Fma(s, y, py6); }
                    if (TGroups.Value > 1)
                    {
                        { s = T.Create(*(float*)q); qx0 = T.Fma(s, x, qx0); if (TVectors.Value > 1) qy0 = T.Fma(s, y, qy0); }
                        if (TRows.Value > 1) { s = T.Create(*(float*)(q + row)); qx1 = T.Fma(s, x, qx1); if (TVectors.Value > 1) qy1 = T.Fma(s, y, qy1); }
                        if (TRows.Value > 2) { s = T.Create(*(float*)(q + 2 * row)); qx2 = T.Fma(s, x, qx2); if (TVectors.Value > 1) qy2 = T.Fma(s, y, qy2); }
                        if (TRows.Value > 3) { s = T.Create(*(float*)(q + row3)); qx3 = T.Fma(s, x, qx3); if (TVectors.Value > 1) qy3 = T.Fma(s, y, qy3); }
                        if (TRows.Value > 4) { s = T.Create(*(float*)(q + 4 * row)); qx4 = T.Fma(s, x, qx4); if (TVectors.Value > 1) qy4 = T.Fma(s, y, qy4); }
                        if (TRows.Value > 5) { s = T.Create(*(float*)(q + row5)); qx5 = T.Fma(s, x, qx5); if (TVectors.Value > 1) qy5 = T.Fma(s, y, qy5); }
                        if (TRows.Value > 6) { s = T.Create(*(float*)(q + 2 * row3)); qx6 = T.Fma(s, x, qx6); if (TVectors.Value > 1) qy6 = T.Fma(s, y, qy6); }
                    }
                    p += step;
                    if (TGroups.Value > 1) q += step;
                    b += bStep;
                }
                runP += tile.AOuter;
                if (TGroups.Value > 1) runQ += tile.AOuter;
                runB += tile.BOuter;
            }
            blockP += tile.ABlock;
            if (TGroups.Value > 1) blockQ += tile.ABlock;
            blockB += tile.BBlock;
        }
        float* outP = tile.Out0;
        { T.Store(outP, px0); if (TVectors.Value > 1) T.Store(outP + T.Width, py0); }
        if (TRows.Value > 1) { T.Store(outP + tile.OutRow, px1); if (TVectors.Value > 1) T.Store(outP + tile.OutRow + T.Width, py1); }
        if (TRows.Value > 2) { T.Store(outP + 2 * tile.OutRow, px2); if (TVectors.Value > 1) T.Store(outP + 2 * tile.OutRow + T.Width, py2); }
        if (TRows.Value > 3) { T.Store(outP + 3 * tile.OutRow, px3); if (TVectors.Value > 1) T.Store(outP + 3 * tile.OutRow + T.Width, py3); }
        if (TRows.Value > 4) { T.Store(outP + 4 * tile.OutRow, px4); if (TVectors.Value > 1) T.Store(outP + 4 * tile.OutRow + T.Width, py4); }
        if (TRows.Value > 5) { T.Store(outP + 5 * tile.OutRow, px5); if (TVectors.Value > 1) T.Store(outP + 5 * tile.OutRow + T.Width, py5); }
        if (TRows.Value > 6) { T.Store(outP + 6 * tile.OutRow, px6); if (TVectors.Value > 1) T.Store(outP + 6 * tile.OutRow + T.Width, py6); }
        if (TGroups.Value > 1)
        {
            float* outQ = tile.Out1;
            { T.Store(outQ, qx0); if (TVectors.Value > 1) T.Store(outQ + T.Width, qy0); }
            if (TRows.Value > 1) { T.Store(outQ + tile.OutRow, qx1); if (TVectors.Value > 1) T.Store(outQ + tile.OutRow + T.Width, qy1); }
            if (TRows.Value > 2) { T.Store(outQ + 2 * tile.OutRow, qx2); if (TVectors.Value > 1) T.Store(outQ + 2 * tile.OutRow + T.Width, qy2); }
            if (TRows.Value > 3) { T.Store(outQ + 3 * tile.OutRow, qx3); if (TVectors.Value > 1) T.Store(outQ + 3 * tile.OutRow + T.Width, qy3); }
            if (TRows.Value > 4) { T.Store(outQ + 4 * tile.OutRow, qx4); if (TVectors.Value > 1) T.Store(outQ + 4 * tile.OutRow + T.Width, qy4); }
            if (TRows.Value > 5) { T.Store(outQ + 5 * tile.OutRow, qx5); if (TVectors.Value > 1) T.Store(outQ + 5 * tile.OutRow + T.Width, qy5); }
            if (TRows.Value > 6) { T.Store(outQ + 6 * tile.OutRow, qx6); if (TVectors.Value > 1) T.Store(outQ + 6 * tile.OutRow + T.Width, qy6); }
        }
    }
}

internal readonly struct N1 : ICount { public static int Value => 1; }
internal readonly struct N2 : ICount { public static int Value => 2; }
internal readonly struct N3 : ICount { public static int Value => 3; }
internal readonly struct N4 : ICount { public static int Value => 4; }
internal readonly struct N5 : ICount { public static int Value => 5; }
internal readonly struct N6 : ICount { public static int Value => 6; }
internal readonly struct N7 : ICount { public static int Value => 7; }
