using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The tiles of the family for small temperatures and rows that are not normalised: every row is shifted by its own
/// greatest similarity, found on the way (Milakov and Gimelshein 2018), so each side of a tile has exponentials of its
/// own. Similarities, shifts and what is formed of them up to the exponent are doubles (<see cref="ContrastDoubles{D}"/>).
/// </summary>
internal static unsafe class ContrastOnlineTiles<T, D, TEpilogue> where T : struct, ISimd<T> where D : struct, IDoubles<D> where TEpilogue : struct, IContrastEpilogue
{
    private const int WeightRow = ContrastScratch.WeightRow;

    internal static void ForwardTile(ref ContrastBatch batch, int slot, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* scratch = ContrastScratch.Of(ref batch, slot);
        double* s = (double*)scratch;
        ContrastDoubles<D>.Similarities(ref batch, s, ContrastScratch.Widened(ref batch, scratch, T.Width), blockI, blockJ);
        bool bothSides = TEpilogue.TwoSided && !(batch.IsSquare && blockI == blockJ);
        if (TEpilogue.Supervised) SumPositives(ref batch, slot, s, row0, rows, column0, columns, bothSides);
        double* maxima = batch.Left.Maxima + (long)slot * batch.Left.Rows.PaddedRows;
        double* sums = batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows;
        TakePairs(ref batch, sums, s, row0, rows, column0, columns);
        double scale = batch.Log2Scale, bias = batch.Bias * Math.Log2(Math.E);
        float* y = stackalloc float[WeightRow];
        for (int r = 0; r < rows; r++)
        {
            double* of = s + r * WeightRow;
            T sum = T.Zero;
            if (TEpilogue.Sigmoid)
            {
                // What is left out is at −∞, whose softplus is next to nothing, 2⁻¹²⁶.
                ContrastDoubles<D>.Logits(y, of, columns, scale, bias);
                for (int c = 0; c < columns; c += T.Width) sum = T.Add(sum, ContrastMath.Softplus(T.Load(y + c)));
                sums[row0 + r] += T.Sum(sum);
                continue;
            }
            double tileMaximum = ContrastDoubles<D>.Maximum(of, columns);
            if (double.IsNegativeInfinity(tileMaximum)) continue; // not one negative in this row of the tile
            ContrastDoubles<D>.Exponents(y, of, columns, Raise(ref batch, maxima, sums, row0 + r, tileMaximum), scale);
            for (int c = 0; c < columns; c += T.Width) sum = T.Add(sum, Exponential(T.Load(y + c)));
            sums[row0 + r] += T.Sum(sum);
        }
        if (!bothSides) return;
        maxima = batch.Right.Maxima + (long)slot * batch.Right.Rows.PaddedRows + column0;
        sums = batch.Right.Sums + (long)slot * batch.Right.Rows.PaddedRows + column0;
        double* most = stackalloc double[WeightRow];
        float* columnSums = ContrastScratch.ColumnSums(ref batch, scratch, T.Width);
        ContrastDoubles<D>.ColumnMaxima(s, rows, columns, most);
        for (int c = 0; c < columns; c++)
            if (!double.IsNegativeInfinity(most[c])) Raise(ref batch, maxima, sums, c, most[c]);
        new Span<float>(columnSums, columns).Clear();
        for (int r = 0; r < rows; r++)
        {
            ContrastDoubles<D>.Exponents(y, s + r * WeightRow, columns, maxima, scale);
            for (int c = 0; c < columns; c += T.Width) T.Store(columnSums + c, T.Add(T.Load(columnSums + c), Exponential(T.Load(y + c))));
        }
        for (int c = 0; c < columns; c++)
            if (!double.IsNegativeInfinity(maxima[c])) sums[c] += columnSums[c];
    }

    /// <summary>Lets a row's maximum grow, and rescales its sum to it. NaN stays.</summary>
    private static double Raise(ref ContrastBatch batch, double* maxima, double* sums, int row, double candidate)
    {
        double old = maxima[row];
        if (candidate <= old) return old;
        double maximum = maxima[row] = Math.Max(old, candidate);
        if (!double.IsNegativeInfinity(old)) sums[row] *= Math.Exp((old - maximum) / batch.Temperature);
        return maximum;
    }

    /// <summary>weights[i, j] = E_ij u_i r_i + E_ji u_j r_j, or of σ(x_ij), and the pairs'.</summary>
    internal static void Weights(ref ContrastBatch batch, float* weights, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* labels = (float*)batch.Right.Labels + column0, y = stackalloc float[WeightRow], other = stackalloc float[WeightRow];
        // Weights take the place of similarities, of half their size: a row's lie before what is left of those.
        double* s = (double*)weights;
        ContrastDoubles<D>.Similarities(ref batch, s, ContrastScratch.Widened(ref batch, weights, T.Width), blockI, blockJ);
        double scale = batch.Log2Scale, bias = batch.Bias * Math.Log2(Math.E);
        for (int r = 0; r < rows; r++)
        {
            T own = T.Create(batch.Left.Weight[row0 + r]), share = T.Create(batch.Left.PositiveWeight[row0 + r]);
            T label = TEpilogue.Masked || TEpilogue.Supervised ? T.Create(((float*)batch.Left.Labels)[row0 + r]) : T.Zero;
            double* of = s + r * WeightRow;
            float* w = weights + r * WeightRow;
            int positive = batch.PositiveOf(row0 + r) - column0;
            // A sigmoid's positive keeps its digits too.
            double logit = TEpilogue.Sigmoid && positive >= 0 && positive < columns ? of[positive] / batch.Temperature + batch.Bias : 0;
            if (TEpilogue.Sigmoid) ContrastDoubles<D>.Logits(y, of, columns, scale, bias);
            else ContrastDoubles<D>.Exponents(y, of, columns, batch.Left.Shift[row0 + r], scale);
            if (TEpilogue.TwoSided) ContrastDoubles<D>.Exponents(other, of, columns, batch.Right.Shift + column0, scale);
            for (int c = 0; c < columns; c += T.Width)
            {
                T weight;
                if (TEpilogue.Sigmoid) weight = T.Mul(ContrastMath.Sigmoid(T.Load(y + c)), own);
                else if (!TEpilogue.TwoSided) weight = T.Mul(Exponential(T.Load(y + c)), own);
                else weight = T.Fma(Exponential(T.Load(y + c)), own, T.Mul(Exponential(T.Load(other + c)), T.Load(batch.Right.Weight + column0 + c)));
                if (TEpilogue.Masked) weight = T.SelectSameBits(T.Load(labels + c), label, T.Zero, weight);
                if (TEpilogue.Supervised)
                    weight = T.Sub(weight, T.SelectSameBits(T.Load(labels + c), label, T.Add(share, T.Load(batch.Right.PositiveWeight + column0 + c)), T.Zero));
                T.Store(w + c, weight);
            }
            if (!TEpilogue.Sigmoid) continue;
            for (int c = batch.Right.Rows.Count - column0; c < columns; c++) w[c] = 0;
            if (positive >= 0 && positive < columns) w[positive] = -batch.Left.PositiveWeight[row0 + r] * (float)ContrastMath.Sigmoid(-logit);
        }
        if (TEpilogue.Sigmoid) return;
        for (int column = 0; column < columns; column += batch.Right.Rows.Panel)
            if (batch.IsSpecial(row0, rows, column0 + column))
                ContrastTiles<T, TEpilogue>.SetPairs(ref batch, weights + column, row0, rows, column0 + column);
    }

    /// <summary>
    /// 2^y, y held within ±126: below it nothing counts beside a maximum of 1, above it is only what has no weight: columns
    /// of padding, which meet zeros, and what labels leave out.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Exponential(T y) => ContrastMath.Exp2(T.Max(T.Min(y, T.Create(126)), T.Create(-126)));

    /// <summary>Keeps the positives, and leaves the negatives only: −∞ for self, partner, padding and what labels leave out.</summary>
    private static void TakePairs(ref ContrastBatch batch, double* sums, double* s, int row0, int rows, int column0, int columns)
    {
        int real = batch.Right.Rows.Count - column0;
        for (int r = 0; r < rows; r++, s += WeightRow)
        {
            int row = row0 + r, self = batch.IsSquare ? row - column0 : -1, positive = batch.PositiveOf(row) - column0;
            if (row >= batch.Left.Rows.Count) { new Span<double>(s, columns).Fill(double.NegativeInfinity); continue; }
            if (positive >= 0 && positive < Math.Min(columns, real))
            {
                batch.Positive[row] = s[positive];
                if (TEpilogue.Sigmoid) sums[row] += ContrastMath.Softplus(-(s[positive] / batch.Temperature + batch.Bias));
                s[positive] = double.NegativeInfinity;
            }
            if (TEpilogue.Masked)
            {
                int label = batch.Left.Labels[row];
                for (int c = 0; c < columns; c++)
                    if (batch.Right.Labels[column0 + c] == label) s[c] = double.NegativeInfinity;
            }
            if (self >= 0 && self < columns) s[self] = double.NegativeInfinity;
            for (int c = real; c < columns; c++) s[c] = double.NegativeInfinity;
        }
    }

    /// <summary>SupCon's positives: 1/τ magnifies the rounding of their sum too.</summary>
    private static void SumPositives(ref ContrastBatch batch, int slot, double* s, int row0, int rows, int column0, int columns, bool bothSides)
    {
        double* ofRows = batch.Left.PositiveSums + (long)slot * batch.Left.Rows.PaddedRows, ofColumns = batch.Right.PositiveSums + (long)slot * batch.Right.Rows.PaddedRows;
        for (int r = 0; r < rows; r++, s += WeightRow)
            for (int c = 0; c < columns; c++)
            {
                if (batch.Left.Labels[row0 + r] != batch.Right.Labels[column0 + c] || row0 + r == column0 + c) continue;
                ofRows[row0 + r] += s[c];
                if (bothSides) ofColumns[column0 + c] += s[c];
            }
    }
}
