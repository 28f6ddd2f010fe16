using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The tiles of the family with one shift for all rows: E_ij = exp((s_ij − 1)/τ) serves row i and column j, so a tile's row
/// sums are its rows' and its column sums its columns'. Within one batch, of a tile on the diagonal the panels above it
/// and on it are computed; a panel on it is computed whole, and its row sums alone count.
/// </summary>
internal static unsafe class ContrastTiles<T, TEpilogue> where T : struct, ISimd<T> where TEpilogue : struct, IContrastEpilogue
{
    private const int WeightRow = ContrastScratch.WeightRow;

    /// <summary>
    /// Products summed in one run. Longer rows' runs are added up: of nearly identical rows a sum in one run of 2,047 errs by
    /// 1e-6, which 1/τ magnifies to 5e-5.
    /// </summary>
    private const int Run = 128;

    /// <summary>The product that gives similarities; its operands and output are set for every use.</summary>
    internal static Tile SimilarityTile(ref ContrastBatch batch, float* scratch)
    {
        float* zeros = ContrastScratch.Zeros(ref batch, scratch, T.Width);
        new Span<float>(zeros, 2 * T.Width).Clear();
        return new Tile
        {
            ARow = 4,
            AStep = 4 * batch.Left.Rows.Panel,
            BStep = 4 * batch.Left.Rows.Panel,
            Initial0 = zeros,
        };
    }

    /// <summary>Similarities of a few rows with a panel of columns, by way of <paramref name="part"/> when rows are long.</summary>
    internal static void Similarities(ref Tile tile, float* to, int toRow, float* part, int rows, int panel, int dim)
    {
        tile.Inner = Math.Min(dim, Run);
        tile.Out0 = to;
        tile.OutRow = toRow;
        tile.Run<T>(rows, panel);
        if (dim > Run) AddRuns(tile, to, toRow, part, rows, panel, dim);
    }

    private static void AddRuns(Tile tile, float* to, int toRow, float* part, int rows, int panel, int dim)
    {
        tile.Out0 = part;
        tile.OutRow = panel;
        for (int k = Run; k < dim; k += Run)
        {
            tile.A0 += Run * panel;
            tile.B += Run * panel;
            tile.Inner = Math.Min(dim - k, Run);
            tile.Run<T>(rows, panel);
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < panel; c += T.Width)
                    T.Store(to + r * toRow + c, T.Add(T.Load(to + r * toRow + c), T.Load(part + r * panel + c)));
        }
    }

    /// <summary>A similarity as a tile has it, to the bit.</summary>
    internal static float Similarity(float* a, long aPanel, float* b, int panel, int dim)
    {
        float* lanes = stackalloc float[T.Width];
        T total = T.Zero;
        for (int k = 0; k < dim; k += Run)
        {
            T run = T.Zero;
            for (int d = k; d < Math.Min(dim, k + Run); d++) run = T.Fma(T.Create(a[d / panel * aPanel + d % panel]), T.Create(b[d]), run);
            total = k == 0 ? run : T.Add(total, run);
        }
        T.Store(lanes, total);
        return lanes[0];
    }

    internal static void Forward(ref ContrastBatch batch, int worker, int slot)
    {
        Clear(batch.Left);
        if (TEpilogue.TwoSided && !batch.IsSquare) Clear(batch.Right);
        double before = 0;
        for (int i = 0; i < batch.Left.Blocks; i++)
            for (int j = batch.FirstColumnBlock(i); j < batch.Right.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot)
                {
                    if (batch.IsFixedShift) ForwardTile(ref batch, slot, i, j);
                    else if (T.Width == 16) ContrastOnlineTiles<T, D512, TEpilogue>.ForwardTile(ref batch, slot, i, j);
                    else if (T.Width == 8) ContrastOnlineTiles<T, D256, TEpilogue>.ForwardTile(ref batch, slot, i, j);
                    else ContrastOnlineTiles<T, D128, TEpilogue>.ForwardTile(ref batch, slot, i, j);
                }
                before += work;
            }

        void Clear(in ContrastSide side)
        {
            int padded = side.Rows.PaddedRows;
            new Span<double>(side.Sums + (long)slot * padded, padded).Clear();
            new Span<double>(side.Maxima + (long)slot * padded, padded).Fill(double.NegativeInfinity);
            if (TEpilogue.Supervised) new Span<double>(side.PositiveSums + (long)slot * padded, padded).Clear();
        }
    }

    /// <summary>What a similarity adds to its row's sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Value(T s, T scale, T offset) =>
        TEpilogue.Sigmoid ? ContrastMath.Softplus(T.Fma(s, scale, offset)) : ContrastMath.Exp2(T.Fma(s, scale, offset));

    /// <summary>From a similarity to an exponent of 2: (s − 1)/τ for exponentials, s/τ + b for sigmoids.</summary>
    internal static (T Scale, T Offset) Logit(ref ContrastBatch batch) =>
        (T.Create((float)batch.Log2Scale), T.Create((float)(TEpilogue.Sigmoid ? batch.Bias * Math.Log2(Math.E) : -batch.Log2Scale)));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ForwardTile(ref ContrastBatch batch, int slot, int blockI, int blockJ)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* scratch = ContrastScratch.Of(ref batch, slot), e = ContrastScratch.Micro(ref batch, scratch), p = e + ContrastScratch.MicroFloats;
        float* rowSums = ContrastScratch.RowSums(ref batch, scratch), rowPositives = rowSums + rows * width;
        float* columnSums = ContrastScratch.ColumnSums(ref batch, scratch, width), columnPositives = columnSums + WeightRow;
        Tile tile = SimilarityTile(ref batch, scratch);
        T one = T.Create(1);
        (T scale, T offset) = Logit(ref batch);
        bool diagonal = batch.IsSquare && blockI == blockJ;
        new Span<float>(rowSums, (TEpilogue.Supervised ? 2 : 1) * rows * width).Clear();
        float* kept = batch.KeptTile(blockI, blockJ);
        for (int column = column0; column < column0 + columns; column += panel)
        {
            tile.B = batch.Right.Z + batch.Right.Rows.RowPanel(column);
            T left = T.Zero, right = T.Zero, leftPositives = T.Zero, rightPositives = T.Zero;
            float* labels = (float*)batch.Right.Labels + column;
            int end = diagonal ? column + panel : row0 + rows;
            for (int row = row0, count; row < end; row += count)
            {
                if (diagonal && row == column)
                {
                    // From here on is the panel on the diagonal, whose column sums repeat its row sums.
                    T.Store(columnSums + column - column0, left);
                    T.Store(columnSums + column - column0 + width, right);
                    if (TEpilogue.Supervised)
                    {
                        T.Store(columnPositives + column - column0, leftPositives);
                        T.Store(columnPositives + column - column0 + width, rightPositives);
                    }
                }
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                tile.A0 = batch.Left.Z + batch.Left.Rows.RowPanel(row) + row % panel;
                float* s = kept == null ? e : kept + (column - column0) * rows + (row - row0) * panel;
                Similarities(ref tile, s, panel, p, count, panel, batch.Left.Rows.Dim);
                bool special = batch.IsSpecial(row, count, column);
                if (special)
                {
                    if (s != e) new ReadOnlySpan<float>(s, count * panel).CopyTo(new Span<float>(e, count * panel));
                    s = e;
                    Special(ref batch, e, p, row, count, column, scale, offset);
                }
                for (int r = 0; r < count; r++)
                {
                    T a = T.Load(s + r * panel), b = T.Load(s + r * panel + width), pa = T.Zero, pb = T.Zero;
                    if (special)
                    {
                        if (TEpilogue.Supervised) (pa, pb) = (T.Load(p + r * panel), T.Load(p + r * panel + width));
                    }
                    else
                    {
                        T label = TEpilogue.Masked || TEpilogue.Supervised ? T.Create(((float*)batch.Left.Labels)[row + r]) : T.Zero;
                        if (TEpilogue.Supervised)
                        {
                            pa = T.SelectSameBits(T.Load(labels), label, T.Sub(a, one), T.Zero);
                            pb = T.SelectSameBits(T.Load(labels + width), label, T.Sub(b, one), T.Zero);
                        }
                        (a, b) = (Value(a, scale, offset), Value(b, scale, offset));
                        if (TEpilogue.Masked)
                        {
                            a = T.SelectSameBits(T.Load(labels), label, T.Zero, a);
                            b = T.SelectSameBits(T.Load(labels + width), label, T.Zero, b);
                        }
                    }
                    float* sum = rowSums + (row - row0 + r) * width;
                    T.Store(sum, T.Add(T.Load(sum), T.Add(a, b)));
                    if (TEpilogue.TwoSided) (left, right) = (T.Add(left, a), T.Add(right, b));
                    if (!TEpilogue.Supervised) continue;
                    sum = rowPositives + (row - row0 + r) * width;
                    T.Store(sum, T.Add(T.Load(sum), T.Add(pa, pb)));
                    (leftPositives, rightPositives) = (T.Add(leftPositives, pa), T.Add(rightPositives, pb));
                }
            }
            if (diagonal) continue;
            T.Store(columnSums + column - column0, left);
            T.Store(columnSums + column - column0 + width, right);
            if (!TEpilogue.Supervised) continue;
            T.Store(columnPositives + column - column0, leftPositives);
            T.Store(columnPositives + column - column0 + width, rightPositives);
        }
        AddSums(batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows + row0, rowSums, rows, batch.Right.Sums + (long)slot * batch.Right.Rows.PaddedRows + column0, columnSums, columns);
        if (TEpilogue.Supervised)
            AddSums(batch.Left.PositiveSums + (long)slot * batch.Left.Rows.PaddedRows + row0, rowPositives, rows,
                batch.Right.PositiveSums + (long)slot * batch.Right.Rows.PaddedRows + column0, columnPositives, columns);
    }

    private static void AddSums(double* ofRows, float* rowSums, int rows, double* ofColumns, float* columnSums, int columns)
    {
        for (int r = 0; r < rows; r++) ofRows[r] += T.Sum(T.Load(rowSums + r * T.Width));
        if (!TEpilogue.TwoSided) return;
        for (int c = 0; c < columns; c++) ofColumns[c] += columnSums[c];
    }

    /// <summary>
    /// Turns similarities of a part with pairs or padding into what is summed: keeps the positives' similarities, and
    /// leaves nothing of self, partner and padding. SupCon's positives, s − 1, go to <paramref name="p"/>.
    /// </summary>
    internal static void Special(ref ContrastBatch batch, float* e, float* p, int row, int rows, int column, T scale, T offset)
    {
        int panel = batch.Right.Rows.Panel, real = batch.Right.Rows.Count - column;
        float* raw = stackalloc float[2 * 16];
        for (int r = 0; r < rows; r++, e += panel, p += panel)
        {
            new ReadOnlySpan<float>(e, panel).CopyTo(new Span<float>(raw, panel));
            T.Store(e, Value(T.Load(raw), scale, offset));
            T.Store(e + T.Width, Value(T.Load(raw + T.Width), scale, offset));
            int self = batch.IsSquare ? row + r - column : -1, positive = batch.PositiveOf(row + r) - column;
            for (int c = 0; c < panel; c++)
            {
                bool sameLabel = (TEpilogue.Masked || TEpilogue.Supervised) && batch.Left.Labels[row + r] == batch.Right.Labels[column + c];
                if (TEpilogue.Supervised) p[c] = sameLabel && c != self && c < real ? raw[c] - 1 : 0;
                if (c >= real || c == self || row + r >= batch.Left.Rows.Count) e[c] = 0;
                else if (c == positive)
                {
                    batch.Positive[row + r] = raw[c];
                    e[c] = TEpilogue.Sigmoid ? (float)ContrastMath.Softplus(-(raw[c] / (double)batch.Temperature + batch.Bias)) : 0;
                }
                else if (TEpilogue.Masked && sameLabel) e[c] = 0;
            }
        }
    }

    internal static void Backward(ref ContrastBatch batch, int worker, int slot)
    {
        if (batch.WantsLeft) Clear(batch.Left);
        if (batch.WantsRight) Clear(batch.Right);
        batch.WeightSums[slot] = 0;
        float* weights = ContrastScratch.Of(ref batch, slot);
        double before = 0;
        for (int i = 0; i < batch.Left.Blocks; i++)
            for (int j = batch.FirstColumnBlock(i); j < batch.Right.Blocks; j++)
            {
                double work = batch.Work(i, j);
                if (batch.SlotOf(before, work) == slot)
                {
                    if (batch.IsFixedShift) Weights(ref batch, weights, i, j);
                    else if (T.Width == 16) ContrastOnlineTiles<T, D512, TEpilogue>.Weights(ref batch, weights, i, j);
                    else if (T.Width == 8) ContrastOnlineTiles<T, D256, TEpilogue>.Weights(ref batch, weights, i, j);
                    else ContrastOnlineTiles<T, D128, TEpilogue>.Weights(ref batch, weights, i, j);
                    if (TEpilogue.Sigmoid && batch.WantsBias) batch.WeightSums[slot] += Sum(weights, batch.Left.BlockRows(i), batch.Right.BlockRows(j));
                    if (batch.WantsLeft) Accumulate(ref batch, slot, weights, batch.Left, i, batch.Right, j, transposed: false);
                    if (batch.IsSquare ? batch.WantsLeft && i != j : batch.WantsRight)
                        Accumulate(ref batch, slot, weights, batch.Right, j, batch.Left, i, transposed: true);
                }
                before += work;
            }

        void Clear(in ContrastSide side)
        {
            long floats = (long)side.Rows.PaddedRows * side.Rows.PaddedDim;
            NativeMemory.Clear(side.Accumulators + slot * floats, (nuint)(4 * floats));
        }
    }

    internal static double Sum(float* weights, int rows, int columns)
    {
        double total = 0;
        for (int r = 0; r < rows; r++, weights += WeightRow)
        {
            T sum = T.Zero;
            for (int c = 0; c < columns; c += T.Width) sum = T.Add(sum, T.Load(weights + c));
            total += T.Sum(sum);
        }
        return total;
    }

    /// <summary>weights[i, j] = E_ij (u_i r_i + u_j r_j), or of σ(x_ij), and what <see cref="SetPairs"/> says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weights(ref ContrastBatch batch, float* weights, int blockI, int blockJ)
    {
        int width = T.Width, panel = 2 * T.Width;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* part = ContrastScratch.Micro(ref batch, weights);
        Tile tile = SimilarityTile(ref batch, weights);
        (T scale, T offset) = Logit(ref batch);
        bool diagonal = batch.IsSquare && blockI == blockJ;
        float* kept = batch.KeptTile(blockI, blockJ);
        for (int column = column0; column < column0 + columns; column += panel)
        {
            tile.B = batch.Right.Z + batch.Right.Rows.RowPanel(column);
            T left = T.Load(batch.Right.Weight + column), right = T.Load(batch.Right.Weight + column + width);
            float* labels = (float*)batch.Right.Labels + column;
            int end = diagonal ? column + panel : row0 + rows;
            for (int row = row0, count; row < end; row += count)
            {
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                float* w = weights + (row - row0) * WeightRow + column - column0, s = w;
                int sRow = WeightRow;
                if (kept != null)
                {
                    s = kept + (column - column0) * rows + (row - row0) * panel;
                    sRow = panel;
                }
                else
                {
                    tile.A0 = batch.Left.Z + batch.Left.Rows.RowPanel(row) + row % panel;
                    Similarities(ref tile, w, WeightRow, part, count, panel, batch.Left.Rows.Dim);
                }
                bool special = batch.IsSpecial(row, count, column);
                if (special && TEpilogue.Sigmoid) KeepPositives(ref batch, s, sRow, row, count, column);
                for (int r = 0; r < count; r++)
                {
                    T own = T.Create(batch.Left.Weight[row + r]);
                    float* at = w + r * WeightRow, of = s + r * sRow;
                    T a = Weight(T.Fma(T.Load(of), scale, offset), own, left), b = Weight(T.Fma(T.Load(of + width), scale, offset), own, right);
                    T label = TEpilogue.Masked || TEpilogue.Supervised ? T.Create(((float*)batch.Left.Labels)[row + r]) : T.Zero;
                    if (TEpilogue.Masked)
                    {
                        a = T.SelectSameBits(T.Load(labels), label, T.Zero, a);
                        b = T.SelectSameBits(T.Load(labels + width), label, T.Zero, b);
                    }
                    if (TEpilogue.Supervised)
                    {
                        T share = T.Create(batch.Left.PositiveWeight[row + r]);
                        T shareA = T.Add(share, T.Load(batch.Right.PositiveWeight + column)), shareB = T.Add(share, T.Load(batch.Right.PositiveWeight + column + width));
                        a = T.Sub(a, T.SelectSameBits(T.Load(labels), label, shareA, T.Zero));
                        b = T.Sub(b, T.SelectSameBits(T.Load(labels + width), label, shareB, T.Zero));
                    }
                    T.Store(at, a);
                    T.Store(at + width, b);
                }
                if (special) SetPairs(ref batch, w, row, count, column);
            }
            if (diagonal) Mirror(weights, column - column0, panel);
        }
    }

    /// <summary>SigLIP's, for <see cref="SetPairs"/>.</summary>
    internal static void KeepPositives(ref ContrastBatch batch, float* s, int sRow, int row, int rows, int column)
    {
        for (int r = 0; r < rows; r++)
        {
            int positive = batch.PositiveOf(row + r) - column;
            if (positive >= 0 && positive < batch.Right.Rows.Panel) batch.Left.Shift[row + r] = s[r * sRow + positive];
        }
    }

    /// <summary>Of a logit in base 2; a column's weight is 0 where only rows have losses.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Weight(T y, T ofRow, T ofColumn) =>
        TEpilogue.Sigmoid ? T.Mul(ContrastMath.Sigmoid(y), ofRow)
        : T.Mul(ContrastMath.Exp2(y), TEpilogue.TwoSided ? T.Add(ofRow, ofColumn) : ofRow);

    /// <summary>Copies a panel of columns above the diagonal to the rows below it.</summary>
    private static void Mirror(float* weights, int column, int panel)
    {
        for (int c = column; c < column + panel; c++)
            for (int r = 0; r < column; r++) weights[c * WeightRow + r] = weights[r * WeightRow + c];
    }

    /// <summary>
    /// No weight for a row itself; for its partner, minus the negatives' shares (SigLIP: minus σ(−x), its similarity kept
    /// in the shift's place). Softmax's padding needs no care: its rows are zero and its gradients are not read; a bias
    /// sums all weights, so there padding has none.
    /// </summary>
    internal static void SetPairs(ref ContrastBatch batch, float* weights, int row, int rows, int column)
    {
        int panel = batch.Right.Rows.Panel, real = batch.Right.Rows.Count - column;
        for (int r = 0; r < rows; r++)
        {
            float* w = weights + r * WeightRow;
            if (TEpilogue.Sigmoid)
                for (int c = real; c < panel; c++) w[c] = 0;
            int self = batch.IsSquare ? row + r - column : -1, positive = batch.PositiveOf(row + r) - column;
            if (self >= 0 && self < panel) w[self] = 0;
            if (positive < 0 || positive >= panel || positive >= real) continue;
            w[positive] = TEpilogue.Sigmoid
                ? -batch.Left.PositiveWeight[row + r] * (float)ContrastMath.Sigmoid(-(batch.Left.Shift[row + r] / batch.Temperature + batch.Bias))
                : -(batch.Left.PositiveWeight[row + r] + batch.Right.PositiveWeight[column + positive]);
        }
    }

    /// <summary>The gradient sums of a block of rows of <paramref name="to"/> += weights · z of a block of the other side.</summary>
    internal static void Accumulate(ref ContrastBatch batch, int slot, float* weights, in ContrastSide to, int toBlock, in ContrastSide from, int fromBlock, bool transposed)
    {
        PackedRows packed = to.Rows;
        int row0 = toBlock * to.Block, rows = to.BlockRows(toBlock);
        float* accumulator = to.Accumulators + slot * (long)packed.PaddedRows * packed.PaddedDim;
        var tile = new Tile
        {
            ARow = transposed ? 4 : 4 * WeightRow,
            AStep = transposed ? 4 * WeightRow : 4,
            BStep = 4 * packed.Panel,
            Inner = from.BlockRows(fromBlock),
            InitialRow = packed.PaddedDim,
            OutRow = packed.PaddedDim,
        };
        for (int column = 0; column < packed.Dim; column += packed.Panel)
        {
            int columns = packed.Dim - column > T.Width ? 2 * T.Width : T.Width;
            tile.B = from.Z + from.Rows.ColumnPanel(fromBlock * from.Block, column / packed.Panel);
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
