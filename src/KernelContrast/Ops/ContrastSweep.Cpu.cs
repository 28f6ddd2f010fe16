using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// One sweep over the columns where only rows get a gradient and one shift serves all rows: MoCo's queue, InfoNCE's keys
/// when they are constants. The weight E_ij of a column k_j lacks nothing but its row's factor, so beside the sums
/// <code>
/// N_i = Σ_j E_ij,  A_i = Σ_j E_ij k_j  over the negatives,   and then g_i = 1/τ (u_i r_i A_i − u_i share_i k_i+)
/// </code>
/// two products in place of three, and columns are normalised and packed where they are used, a block at a time in the
/// cache: nothing of their size is kept. Every slot takes a run of blocks for all rows, and has sums of its own.
/// </summary>
internal static unsafe class ContrastSweep<T, TEpilogue> where T : struct, ISimd<T> where TEpilogue : struct, IContrastEpilogue
{
    private const int WeightRow = ContrastScratch.WeightRow;

    internal static void Run(ref ContrastBatch batch, int worker, int slot)
    {
        int padded = batch.Left.Rows.PaddedRows;
        new Span<double>(batch.Left.Sums + (long)slot * padded, padded).Clear();
        if (batch.Call.WantsGradient)
            NativeMemory.Clear(batch.Left.Accumulators + slot * batch.Left.Rows.Sums, (nuint)(4 * batch.Left.Rows.Sums));
        float* scratch = ContrastScratch.Of(ref batch, slot);
        ContrastSide block = batch.Right;
        block.Z = scratch + batch.ScratchFloats - batch.BlockFloats;
        int end = (int)((slot + 1L) * batch.Right.Blocks / batch.Slots);
        for (int j = (int)((long)slot * batch.Right.Blocks / batch.Slots); j < end; j++)
        {
            int column0 = j * batch.Right.Block;
            block.Rows = new(batch.Right.BlockRows(j), batch.Call.Dim, batch.Right.Rows.Panel);
            ContrastRows<T>.NormalizeBlock(ref batch, block, column0);
            for (int i = 0; i < batch.Left.Blocks; i++)
            {
                Weights(ref batch, scratch, slot, i, block, column0);
                if (batch.Call.WantsGradient) ContrastTiles<T, TEpilogue>.Accumulate(ref batch, slot, scratch, batch.Left, i, block, 0, transposed: false);
            }
        }
    }

    /// <summary>weights[i, j] = E_ij, and their sums by row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weights(ref ContrastBatch batch, float* weights, int slot, int blockI, in ContrastSide block, int column0)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), columns = block.Rows.PaddedRows;
        float* rowSums = ContrastScratch.RowSums(ref batch, weights);
        new Span<float>(rowSums, rows * width).Clear();
        float* part = ContrastScratch.Micro(ref batch, weights);
        Tile tile = ContrastTiles<T, TEpilogue>.SimilarityTile(ref batch, weights);
        T scale = T.Create((float)batch.Log2Scale), offset = T.Create((float)-batch.Log2Scale);
        for (int c = 0; c < columns; c += panel)
        {
            int column = column0 + c;
            tile.B = block.Z + block.Rows.RowPanel(c);
            float* labels = (float*)batch.Right.Labels + column;
            for (int row = row0, count; row < row0 + rows; row += count)
            {
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                float* w = weights + (row - row0) * WeightRow + c;
                tile.A0 = batch.Left.Z + batch.Left.Rows.RowPanel(row) + row % panel;
                ContrastTiles<T, TEpilogue>.Similarities(ref tile, w, WeightRow, part, count, panel, batch.Left.Rows.Dim);
                bool special = batch.IsSpecial(row, count, column);
                for (int r = 0; r < count; r++)
                {
                    float* at = w + r * WeightRow;
                    T a = ContrastMath.Exp2(T.Fma(T.Load(at), scale, offset)), b = ContrastMath.Exp2(T.Fma(T.Load(at + width), scale, offset));
                    if (TEpilogue.Masked)
                    {
                        T label = T.Create(((float*)batch.Left.Labels)[row + r]);
                        a = T.SelectSameBits(T.Load(labels), label, T.Zero, a);
                        b = T.SelectSameBits(T.Load(labels + width), label, T.Zero, b);
                    }
                    T.Store(at, a);
                    T.Store(at + width, b);
                    if (special)
                    {
                        LeaveOut(ref batch, at, row + r, column);
                        (a, b) = (T.Load(at), T.Load(at + width));
                    }
                    float* sum = rowSums + (row - row0 + r) * width;
                    T.Store(sum, T.Add(T.Load(sum), T.Add(a, b)));
                }
            }
        }
        double* sums = batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows + row0;
        for (int r = 0; r < rows; r++) sums[r] += T.Sum(T.Load(rowSums + r * width));
    }

    /// <summary>No weight for columns of padding and for the row's positive, which has its own.</summary>
    private static void LeaveOut(ref ContrastBatch batch, float* weights, int row, int column)
    {
        int panel = batch.Right.Rows.Panel, real = batch.Right.Rows.Count - column, positive = batch.PositiveOf(row) - column;
        for (int c = real; c < panel; c++) weights[c] = 0;
        if (positive >= 0 && positive < panel) weights[positive] = 0;
    }

    /// <summary>The sums of a part of the rows: the slots', added in order.</summary>
    internal static void FoldLeft(ref ContrastBatch batch, int worker, int item) => Fold(batch.Left, batch.Slots, item);

    internal static void FoldRight(ref ContrastBatch batch, int worker, int item) => Fold(batch.Right, batch.Slots, item);

    private static void Fold(in ContrastSide side, int slots, int item)
    {
        PackedRows rows = side.Rows;
        long first = (long)item * ContrastBatch.RowsPerItem * rows.PaddedDim, end = Math.Min(first + (long)ContrastBatch.RowsPerItem * rows.PaddedDim, rows.Sums);
        for (long e = first; e < end; e += T.Width)
        {
            T sum = T.Load(side.Accumulators + e);
            for (int slot = 1; slot < slots; slot++) sum = T.Add(sum, T.Load(side.Accumulators + slot * rows.Sums + e));
            T.Store(side.GradientSums + e, sum);
        }
    }
}
