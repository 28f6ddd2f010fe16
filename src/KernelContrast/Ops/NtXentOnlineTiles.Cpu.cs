using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The tiles of NT-Xent for small temperatures: every row is shifted by its own greatest similarity, found on the way
/// (Milakov and Gimelshein 2018), so each side of a tile has exponentials of its own.
/// </summary>
/// <remarks>
/// 1/τ magnifies the rounding of a similarity, which at τ = 0.001 and plain float32 would cost 2e-4 of an exponential.
/// So similarities are kept as the sum of two floats: products are summed over short runs, and the runs without error.
/// </remarks>
internal static unsafe class NtXentOnlineTiles<T> where T : struct, ISimd<T>
{
    /// <summary>Products summed in plain float32 before they are added without error.</summary>
    private const int Run = 8;

    internal static void Forward(ref NtXentBatch batch, int worker, int slot)
    {
        int padded = batch.Rows.PaddedRows;
        new Span<double>(batch.Sums + (long)slot * padded, padded).Clear();
        new Span<float>(batch.Maxima + (long)slot * padded, padded).Fill(float.NegativeInfinity);
        double before = 0;
        for (int i = 0; i < batch.Blocks; i++)
            for (int j = i; j < batch.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot) ForwardTile(ref batch, slot, i, j);
                before += work;
            }
    }

    private static void ForwardTile(ref NtXentBatch batch, int slot, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Block, rows = batch.BlockRows(blockI), column0 = blockJ * batch.Block, columns = batch.BlockRows(blockJ);
        float* high = batch.Scratch + slot * batch.ScratchFloats, low = NtXentTiles<T>.Low(ref batch, high);
        Similarities(ref batch, high, low, blockI, blockJ);
        TakePairs(ref batch, high, low, row0, rows, column0, columns);
        float* maxima = batch.Maxima + (long)slot * batch.Rows.PaddedRows;
        double* sums = batch.Sums + (long)slot * batch.Rows.PaddedRows;
        T scale = T.Create(batch.Log2Scale);
        for (int r = 0; r < rows; r++)
        {
            float* h = high + r * NtXentTiles<T>.WeightRow, l = low + r * NtXentTiles<T>.WeightRow;
            T most = T.Load(h);
            for (int c = T.Width; c < columns; c += T.Width) most = T.Max(most, T.Load(h + c));
            float tileMaximum = T.MaxAcross(most);
            if (float.IsNegativeInfinity(tileMaximum)) continue; // not one negative in this row of the tile
            float maximum = Raise(ref batch, maxima, sums, row0 + r, tileMaximum);
            T shift = T.Create(maximum), sum = T.Zero;
            for (int c = 0; c < columns; c += T.Width) sum = T.Add(sum, Exponential(T.Load(h + c), T.Load(l + c), shift, scale));
            sums[row0 + r] += T.Sum(sum);
        }
        if (blockI == blockJ) return;
        float* lanes = stackalloc float[T.Width];
        for (int c = 0; c < columns; c += T.Width)
        {
            T most = T.Load(high + c);
            for (int r = 1; r < rows; r++) most = T.Max(most, T.Load(high + r * NtXentTiles<T>.WeightRow + c));
            T.Store(lanes, most);
            for (int x = 0; x < T.Width; x++) Raise(ref batch, maxima, sums, column0 + c + x, lanes[x]);
            T shift = T.Load(maxima + column0 + c), sum = T.Zero;
            for (int r = 0; r < rows; r++)
                sum = T.Add(sum, Exponential(T.Load(high + r * NtXentTiles<T>.WeightRow + c), T.Load(low + r * NtXentTiles<T>.WeightRow + c), shift, scale));
            T.Store(lanes, sum);
            for (int x = 0; x < T.Width; x++) sums[column0 + c + x] += lanes[x];
        }
    }

    /// <summary>Lets a row's maximum grow, and rescales its sum to it. NaN stays.</summary>
    private static float Raise(ref NtXentBatch batch, float* maxima, double* sums, int row, float candidate)
    {
        float old = maxima[row];
        if (candidate <= old) return old;
        float maximum = maxima[row] = MathF.Max(old, candidate);
        sums[row] *= Math.Exp(((double)old - maximum) / batch.Temperature);
        return maximum;
    }

    /// <summary>weights[i, j] = E_ij inverseSum_i + E_ji inverseSum_j, and the pairs'.</summary>
    internal static void Weights(ref NtXentBatch batch, float* weights, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Block, rows = batch.BlockRows(blockI), column0 = blockJ * batch.Block, columns = batch.BlockRows(blockJ);
        float* low = NtXentTiles<T>.Low(ref batch, weights);
        Similarities(ref batch, weights, low, blockI, blockJ);
        T scale = T.Create(batch.Log2Scale);
        for (int r = 0; r < rows; r++)
        {
            T shift = T.Create(batch.PackedShift[row0 + r]), inverseSum = T.Create(batch.PackedInverseSum[row0 + r]);
            float* w = weights + r * NtXentTiles<T>.WeightRow, l = low + r * NtXentTiles<T>.WeightRow;
            for (int c = 0; c < columns; c += T.Width)
            {
                T h = T.Load(w + c), tail = T.Load(l + c);
                T other = T.Mul(Exponential(h, tail, T.Load(batch.PackedShift + column0 + c), scale), T.Load(batch.PackedInverseSum + column0 + c));
                T.Store(w + c, T.Fma(Exponential(h, tail, shift, scale), inverseSum, other));
            }
        }
        if (blockI != blockJ) return;
        for (int column = 0; column < columns; column += batch.Rows.Panel)
            NtXentTiles<T>.SetPairs(ref batch, weights + column, row0, rows, column0 + column);
    }

    /// <summary>
    /// exp((high + low − shift)/τ), held within 2^±126: below it nothing counts beside a maximum of 1, above it are
    /// columns of padding only, whose weights meet zeros.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Exponential(T high, T low, T shift, T scale)
    {
        T y = T.Mul(T.Add(T.Sub(high, shift), low), scale);
        return NtXentTiles<T>.Exp2(T.Max(T.Min(y, T.Create(126)), T.Create(-126)));
    }

    /// <summary>s_ij of a tile as high + low.</summary>
    private static void Similarities(ref NtXentBatch batch, float* high, float* low, int blockI, int blockJ)
    {
        PackedRows packed = batch.Rows;
        int panel = packed.Panel;
        int row0 = blockI * batch.Block, rows = batch.BlockRows(blockI), column0 = blockJ * batch.Block, columns = batch.BlockRows(blockJ);
        float* part = NtXentTiles<T>.Micro(ref batch, high);
        Tile tile = NtXentTiles<T>.SimilarityTile(ref batch, high, panel);
        tile.Out0 = part;
        for (int column = column0; column < column0 + columns; column += panel)
            for (int row = row0, count; row < row0 + rows; row += count)
            {
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                float* h = high + (row - row0) * NtXentTiles<T>.WeightRow + column - column0;
                float* l = low + (row - row0) * NtXentTiles<T>.WeightRow + column - column0;
                for (int k = 0; k < packed.Dim; k += Run)
                {
                    tile.A0 = batch.Normalized + packed.RowPanel(row) + row % panel + (long)k * panel;
                    tile.B = batch.Normalized + packed.RowPanel(column) + (long)k * panel;
                    tile.Inner = Math.Min(Run, packed.Dim - k);
                    tile.Run<T>(count, panel);
                    for (int r = 0; r < count; r++)
                        for (int c = 0; c < panel; c += T.Width)
                        {
                            float* sum = h + r * NtXentTiles<T>.WeightRow + c, error = l + r * NtXentTiles<T>.WeightRow + c;
                            T b = T.Load(part + r * panel + c);
                            if (k == 0) { T.Store(sum, b); T.Store(error, T.Zero); }
                            else AddWithoutError(sum, error, b);
                        }
                }
            }
    }

    /// <summary>sum + error += b, where the rounding of sum + b goes to error (Knuth's two-sum).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddWithoutError(float* sum, float* error, T b)
    {
        T a = T.Load(sum), total = T.Add(a, b), fromB = T.Sub(total, a);
        T rest = T.Add(T.Sub(a, T.Sub(total, fromB)), T.Sub(b, fromB));
        T.Store(sum, total);
        T.Store(error, T.Add(T.Load(error), rest));
    }

    /// <summary>Keeps the positives, and leaves the negatives only: −∞ for self, partner and padding.</summary>
    private static void TakePairs(ref NtXentBatch batch, float* high, float* low, int row0, int rows, int column0, int columns)
    {
        int real = batch.Rows.Count - column0;
        for (int r = 0; r < rows; r++, high += NtXentTiles<T>.WeightRow, low += NtXentTiles<T>.WeightRow)
        {
            for (int c = Math.Max(0, real); c < columns; c++) high[c] = float.NegativeInfinity;
            int self = row0 + r - column0;
            if (self < 0 || self >= columns) continue;
            batch.Positive[row0 + r] = (double)high[self ^ 1] + low[self ^ 1];
            high[self] = high[self ^ 1] = float.NegativeInfinity;
        }
    }
}
