using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// SigLIP forward and backward at once: a pair's weight σ(x_ij) needs no sum over its row, so while a tile's similarities
/// are at hand, its weights and what they add to both sides' gradients are formed too; one upstream gradient of all rows
/// waits for the end. Three products in place of four, and the loss and the weight share one exponential.
/// </summary>
internal static unsafe class ContrastDirect<T, TEpilogue> where T : struct, ISimd<T> where TEpilogue : struct, IContrastEpilogue
{
    private const int WeightRow = ContrastScratch.WeightRow;

    internal static void Run(ref ContrastBatch batch, int worker, int slot)
    {
        Clear(batch.Left);
        if (batch.Call.WantsKeysGradient) Clear(batch.Right);
        new Span<double>(batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows, batch.Left.Rows.PaddedRows).Clear();
        batch.WeightSums[slot] = 0;
        float* weights = ContrastScratch.Of(ref batch, slot);
        double before = 0;
        for (int i = 0; i < batch.Left.Blocks; i++)
            for (int j = 0; j < batch.Right.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot)
                {
                    if (batch.IsFixedShift) Tile(ref batch, slot, weights, i, j);
                    else if (T.Width == 16) Online<D512>(ref batch, slot, weights, i, j);
                    else if (T.Width == 8) Online<D256>(ref batch, slot, weights, i, j);
                    else Online<D128>(ref batch, slot, weights, i, j);
                    batch.WeightSums[slot] += ContrastTiles<T, TEpilogue>.Sum(weights, batch.Left.BlockRows(i), batch.Right.BlockRows(j));
                    ContrastTiles<T, TEpilogue>.Accumulate(ref batch, slot, weights, batch.Left, i, batch.Right, j, transposed: false);
                    if (batch.Call.WantsKeysGradient) ContrastTiles<T, TEpilogue>.Accumulate(ref batch, slot, weights, batch.Right, j, batch.Left, i, transposed: true);
                }
                before += work;
            }

        void Clear(in ContrastSide side) => NativeMemory.Clear(side.Accumulators + slot * side.Rows.Sums, (nuint)(4 * side.Rows.Sums));
    }

    private static void Online<D>(ref ContrastBatch batch, int slot, float* weights, int blockI, int blockJ) where D : struct, IDoubles<D>
    {
        ContrastOnlineTiles<T, D, TEpilogue>.ForwardTile(ref batch, slot, blockI, blockJ);
        ContrastOnlineTiles<T, D, TEpilogue>.Weights(ref batch, weights, blockI, blockJ);
    }

    /// <summary>Adds log(1 + e^x) of a tile to its rows' sums; weights[i, j] = σ(x_ij), and what the pairs have.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile(ref ContrastBatch batch, int slot, float* weights, int blockI, int blockJ)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* losses = ContrastScratch.Micro(ref batch, weights), unused = losses + ContrastScratch.MicroFloats;
        float* rowSums = ContrastScratch.RowSums(ref batch, weights);
        new Span<float>(rowSums, rows * width).Clear();
        Tile tile = ContrastTiles<T, TEpilogue>.SimilarityTile(ref batch, weights);
        (T scale, T offset) = ContrastTiles<T, TEpilogue>.Logit(ref batch);
        for (int column = column0; column < column0 + columns; column += panel)
        {
            tile.B = batch.Right.Z + batch.Right.Rows.RowPanel(column);
            float* labels = (float*)batch.Right.Labels + column;
            for (int row = row0, count; row < row0 + rows; row += count)
            {
                count = KernelContrast.Tile.NextRows(panel - row % panel, KernelContrast.Tile.MaxRows<T>());
                float* w = weights + (row - row0) * WeightRow + column - column0;
                tile.A0 = batch.Left.Z + batch.Left.Rows.RowPanel(row) + row % panel;
                ContrastTiles<T, TEpilogue>.Similarities(ref tile, w, WeightRow, losses, count, panel, batch.Left.Rows.Dim);
                bool special = batch.IsSpecial(row, count, column);
                if (special)
                {
                    for (int r = 0; r < count; r++) new ReadOnlySpan<float>(w + r * WeightRow, panel).CopyTo(new Span<float>(losses + r * panel, panel));
                    ContrastTiles<T, TEpilogue>.Special(ref batch, losses, unused, row, count, column, scale, offset);
                    ContrastTiles<T, TEpilogue>.KeepPositives(ref batch, w, WeightRow, row, count, column);
                }
                for (int r = 0; r < count; r++)
                {
                    T own = T.Create(batch.Left.Weight[row + r]);
                    float* at = w + r * WeightRow;
                    T a = ContrastMath.SoftplusAndSigmoid(T.Fma(T.Load(at), scale, offset), out T weightA);
                    T b = ContrastMath.SoftplusAndSigmoid(T.Fma(T.Load(at + width), scale, offset), out T weightB);
                    (weightA, weightB) = (T.Mul(weightA, own), T.Mul(weightB, own));
                    if (TEpilogue.Masked)
                    {
                        T label = T.Create(((float*)batch.Left.Labels)[row + r]), of = T.Load(labels), ofNext = T.Load(labels + width);
                        (a, b) = (T.SelectSameBits(of, label, T.Zero, a), T.SelectSameBits(ofNext, label, T.Zero, b));
                        (weightA, weightB) = (T.SelectSameBits(of, label, T.Zero, weightA), T.SelectSameBits(ofNext, label, T.Zero, weightB));
                    }
                    if (special) (a, b) = (T.Load(losses + r * panel), T.Load(losses + r * panel + width));
                    T.Store(at, weightA);
                    T.Store(at + width, weightB);
                    float* sum = rowSums + (row - row0 + r) * width;
                    T.Store(sum, T.Add(T.Load(sum), T.Add(a, b)));
                }
                if (special) ContrastTiles<T, TEpilogue>.SetPairs(ref batch, w, row, count, column);
            }
        }
        double* sums = batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows + row0;
        for (int r = 0; r < rows; r++) sums[r] += T.Sum(T.Load(rowSums + r * width));
    }
}
