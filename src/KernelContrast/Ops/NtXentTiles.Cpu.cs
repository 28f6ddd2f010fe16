using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The tiles of NT-Xent with the shift fixed at 1: E_ij = exp((s_ij − 1)/τ) is symmetric, so off the diagonal a tile's
/// row sums serve its rows and its column sums its columns. Of a tile on the diagonal, the panels above it and on it are
/// computed; a panel on it is computed whole, and its row sums alone count.
/// </summary>
internal static unsafe class NtXentTiles<T> where T : struct, ISimd<T>
{
    /// <summary>Floats from one row of a tile's weights to the next: no power of two, so that rows spread over the cache's sets.</summary>
    internal const int WeightRow = 144;

    /// <summary>Rows of the largest product of registers, times its columns.</summary>
    private const int MicroFloats = 14 * 32;

    /// <summary>Two tiles of weights (the online path keeps the low parts of similarities too), a product of registers, row and column sums, zeros.</summary>
    internal static long ScratchFloats(ref NtXentBatch batch) =>
        2L * batch.Block * WeightRow + MicroFloats + (long)batch.Block * T.Width + WeightRow + 2 * T.Width;

    internal static float* Low(ref NtXentBatch batch, float* scratch) => scratch + batch.Block * WeightRow;
    internal static float* Micro(ref NtXentBatch batch, float* scratch) => scratch + 2 * batch.Block * WeightRow;
    private static float* RowSums(ref NtXentBatch batch, float* scratch) => Micro(ref batch, scratch) + MicroFloats;
    private static float* ColumnSums(ref NtXentBatch batch, float* scratch) => RowSums(ref batch, scratch) + batch.Block * T.Width;
    private static float* Zeros(ref NtXentBatch batch, float* scratch) => ColumnSums(ref batch, scratch) + WeightRow;

    /// <summary>2^y for y in [−126, 126] to 2 units in the last place; NaN (of payload zero) stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Exp2(T y)
    {
        // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits, ready to be added to the exponent.
        T magic = T.Create(12582912);
        T n = T.Add(y, magic);
        T f = T.Sub(y, T.Sub(n, magic));
        T p = T.Fma(T.Create(1.546144470e-04f), f, T.Create(1.340042818e-03f));
        p = T.Fma(p, f, T.Create(9.618056679e-03f));
        p = T.Fma(p, f, T.Create(5.550327227e-02f));
        p = T.Fma(p, f, T.Create(2.402265092e-01f));
        p = T.Fma(p, f, T.Create(6.931472067e-01f));
        p = T.Fma(p, f, T.Create(1));
        return T.AddExponent(p, n);
    }

    /// <summary>The product that gives similarities; its operands and output are set for every use.</summary>
    internal static Tile SimilarityTile(ref NtXentBatch batch, float* scratch, int outRow)
    {
        float* zeros = Zeros(ref batch, scratch);
        new Span<float>(zeros, 2 * T.Width).Clear();
        return new Tile
        {
            ARow = 4,
            AStep = 4 * batch.Rows.Panel,
            BStep = 4 * batch.Rows.Panel,
            Blocks = 1,
            Outer = 1,
            Inner = batch.Rows.Dim,
            Initial0 = zeros,
            OutRow = outRow,
        };
    }

    /// <summary>Whether a part of a tile holds pairs (then on the diagonal) or columns of padding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsSpecial(ref NtXentBatch batch, int row, int rows, int column) =>
        (row < column + batch.Rows.Panel && column < row + rows) || column + batch.Rows.Panel > batch.Rows.Count;

    internal static void Forward(ref NtXentBatch batch, int worker, int slot)
    {
        new Span<double>(batch.Sums + (long)slot * batch.Rows.PaddedRows, batch.Rows.PaddedRows).Clear();
        double before = 0;
        for (int i = 0; i < batch.Blocks; i++)
            for (int j = i; j < batch.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot) ForwardTile(ref batch, slot, i, j);
                before += work;
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ForwardTile(ref NtXentBatch batch, int slot, int blockI, int blockJ)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Block, rows = batch.BlockRows(blockI), column0 = blockJ * batch.Block, columns = batch.BlockRows(blockJ);
        float* scratch = batch.Scratch + slot * batch.ScratchFloats;
        float* e = Micro(ref batch, scratch), rowSums = RowSums(ref batch, scratch), columnSums = ColumnSums(ref batch, scratch);
        Tile tile = SimilarityTile(ref batch, scratch, panel);
        tile.Out0 = e;
        T scale = T.Create(batch.Log2Scale), offset = T.Create(-batch.Log2Scale);
        new Span<float>(rowSums, rows * width).Clear();
        for (int column = column0; column < column0 + columns; column += panel)
        {
            tile.B = batch.Normalized + batch.Rows.RowPanel(column);
            T left = T.Zero, right = T.Zero;
            int end = blockI == blockJ ? column + panel : row0 + rows;
            for (int row = row0, count; row < end; row += count)
            {
                if (row == column)
                {
                    // From here on is the panel on the diagonal, whose column sums repeat its row sums.
                    T.Store(columnSums + column - column0, left);
                    T.Store(columnSums + column - column0 + width, right);
                }
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                tile.A0 = batch.Normalized + batch.Rows.RowPanel(row) + row % panel;
                tile.Run<T>(count, panel);
                if (IsSpecial(ref batch, row, count, column))
                {
                    for (int r = 0; r < count * panel; r += width) T.Store(e + r, Exp2(T.Fma(T.Load(e + r), scale, offset)));
                    TakePairs(ref batch, e, row, count, column);
                    for (int r = 0; r < count; r++)
                    {
                        T a = T.Load(e + r * panel), b = T.Load(e + r * panel + width);
                        left = T.Add(left, a);
                        right = T.Add(right, b);
                        float* sum = rowSums + (row - row0 + r) * width;
                        T.Store(sum, T.Add(T.Load(sum), T.Add(a, b)));
                    }
                    continue;
                }
                for (int r = 0; r < count; r++)
                {
                    T a = Exp2(T.Fma(T.Load(e + r * panel), scale, offset)), b = Exp2(T.Fma(T.Load(e + r * panel + width), scale, offset));
                    left = T.Add(left, a);
                    right = T.Add(right, b);
                    float* sum = rowSums + (row - row0 + r) * width;
                    T.Store(sum, T.Add(T.Load(sum), T.Add(a, b)));
                }
            }
            if (blockI == blockJ) continue;
            T.Store(columnSums + column - column0, left);
            T.Store(columnSums + column - column0 + width, right);
        }
        double* sums = batch.Sums + (long)slot * batch.Rows.PaddedRows;
        for (int r = 0; r < rows; r++) sums[row0 + r] += T.Sum(T.Load(rowSums + r * width));
        for (int c = 0; c < columns; c++) sums[column0 + c] += columnSums[c];
    }

    /// <summary>Keeps the positives, and leaves the negatives only: no self, no partner, no padding.</summary>
    private static void TakePairs(ref NtXentBatch batch, float* e, int row, int rows, int column)
    {
        int panel = batch.Rows.Panel, real = batch.Rows.Count - column;
        for (int r = 0; r < rows; r++, e += panel)
        {
            for (int c = Math.Max(0, real); c < panel; c++) e[c] = 0;
            int self = row + r - column;
            if (self < 0 || self >= panel) continue;
            e[self] = 0;
            batch.Positive[row + r] = e[self ^ 1];
            e[self ^ 1] = 0;
        }
    }

    internal static void Backward(ref NtXentBatch batch, int worker, int slot)
    {
        PackedRows rows = batch.Rows;
        float* accumulator = batch.Accumulators + slot * (long)rows.PaddedRows * rows.PaddedDim;
        System.Runtime.InteropServices.NativeMemory.Clear(accumulator, (nuint)(4L * rows.PaddedRows * rows.PaddedDim));
        float* weights = batch.Scratch + slot * batch.ScratchFloats;
        double before = 0;
        for (int i = 0; i < batch.Blocks; i++)
            for (int j = i; j < batch.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot)
                {
                    if (batch.IsFixedShift) Weights(ref batch, weights, i, j);
                    else NtXentOnlineTiles<T>.Weights(ref batch, weights, i, j);
                    Accumulate(ref batch, accumulator, weights, i, j, transposed: false);
                    if (i != j) Accumulate(ref batch, accumulator, weights, j, i, transposed: true);
                }
                before += work;
            }
    }

    /// <summary>weights[i, j] = E_ij (inverseSum_i + inverseSum_j), and what <see cref="SetPairs"/> says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weights(ref NtXentBatch batch, float* weights, int blockI, int blockJ)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Block, rows = batch.BlockRows(blockI), column0 = blockJ * batch.Block, columns = batch.BlockRows(blockJ);
        Tile tile = SimilarityTile(ref batch, weights, WeightRow);
        T scale = T.Create(batch.Log2Scale), offset = T.Create(-batch.Log2Scale);
        for (int column = column0; column < column0 + columns; column += panel)
        {
            tile.B = batch.Normalized + batch.Rows.RowPanel(column);
            T left = T.Load(batch.PackedInverseSum + column), right = T.Load(batch.PackedInverseSum + column + width);
            int end = blockI == blockJ ? column + panel : row0 + rows;
            for (int row = row0, count; row < end; row += count)
            {
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                float* w = tile.Out0 = weights + (row - row0) * WeightRow + column - column0;
                tile.A0 = batch.Normalized + batch.Rows.RowPanel(row) + row % panel;
                tile.Run<T>(count, panel);
                for (int r = 0; r < count; r++)
                {
                    T own = T.Create(batch.PackedInverseSum[row + r]);
                    float* at = w + r * WeightRow;
                    T.Store(at, T.Mul(Exp2(T.Fma(T.Load(at), scale, offset)), T.Add(own, left)));
                    T.Store(at + width, T.Mul(Exp2(T.Fma(T.Load(at + width), scale, offset)), T.Add(own, right)));
                }
                if (blockI == blockJ) SetPairs(ref batch, w, row, count, column);
            }
            if (blockI == blockJ) Mirror(weights, column - column0, panel);
        }
    }

    /// <summary>Copies a panel of columns above the diagonal to the rows below it.</summary>
    private static void Mirror(float* weights, int column, int panel)
    {
        for (int c = column; c < column + panel; c++)
            for (int r = 0; r < column; r++) weights[c * WeightRow + r] = weights[r * WeightRow + c];
    }

    /// <summary>
    /// No weight for a row itself; for its partner, minus the negatives' shares. Padding needs no care: its rows are zero
    /// and its gradients are not read.
    /// </summary>
    internal static void SetPairs(ref NtXentBatch batch, float* weights, int row, int rows, int column)
    {
        for (int r = 0; r < rows; r++)
        {
            int self = row + r - column;
            if (self < 0 || self >= batch.Rows.Panel) continue;
            float* w = weights + r * WeightRow;
            w[self] = 0;
            w[self ^ 1] = -(batch.PackedShare[row + r] + batch.PackedShare[(row + r) ^ 1]);
        }
    }

    /// <summary>accumulator[rows of a block] += weights · z[rows of the other block].</summary>
    private static void Accumulate(ref NtXentBatch batch, float* accumulator, float* weights, int toBlock, int fromBlock, bool transposed)
    {
        PackedRows packed = batch.Rows;
        int row0 = toBlock * batch.Block, rows = batch.BlockRows(toBlock);
        var tile = new Tile
        {
            ARow = transposed ? 4 : 4 * WeightRow,
            AStep = transposed ? 4 * WeightRow : 4,
            BStep = 4 * packed.Panel,
            Blocks = 1,
            Outer = 1,
            Inner = batch.BlockRows(fromBlock),
            InitialRow = packed.PaddedDim,
            OutRow = packed.PaddedDim,
        };
        for (int column = 0; column < packed.Dim; column += packed.Panel)
        {
            int columns = packed.Dim - column > T.Width ? 2 * T.Width : T.Width;
            tile.B = batch.Normalized + packed.ColumnPanel(fromBlock * batch.Block, column / packed.Panel);
            for (int row = 0, count; row < rows; row += count)
            {
                count = Tile.NextRows(rows - row, Tile.MaxRows<T>());
                tile.A0 = weights + (transposed ? row : row * WeightRow);
                tile.Initial0 = tile.Out0 = accumulator + (long)(row0 + row) * packed.PaddedDim + column;
                tile.Run<T>(count, columns);
            }
        }
    }
}
