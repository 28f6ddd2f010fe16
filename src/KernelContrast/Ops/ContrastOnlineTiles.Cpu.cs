using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The tiles of the family for small temperatures and rows that are not normalised: every row is shifted by its own
/// greatest similarity, found on the way (Milakov and Gimelshein 2018), so each side of a tile has exponentials of its
/// own.
/// </summary>
/// <remarks>
/// 1/τ magnifies the rounding of a similarity, which at τ = 0.001 and plain float32 would cost 2e-4 of an exponential.
/// So similarities are kept as the sum of two floats: products are summed over short runs, and the runs without error.
/// </remarks>
internal static unsafe class ContrastOnlineTiles<T, TEpilogue> where T : struct, ISimd<T> where TEpilogue : struct, IContrastEpilogue
{
    private const int WeightRow = ContrastScratch.WeightRow;

    /// <summary>Products summed in plain float32 before they are added without error.</summary>
    private const int Run = 8;

    internal static void ForwardTile(ref ContrastBatch batch, int slot, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* high = ContrastScratch.Of(ref batch, slot), low = ContrastScratch.Low(ref batch, high);
        Similarities(ref batch, high, low, blockI, blockJ);
        bool bothSides = TEpilogue.TwoSided && !(batch.IsSquare && blockI == blockJ);
        if (TEpilogue.Supervised) SumPositives(ref batch, slot, high, low, row0, rows, column0, columns, bothSides);
        float* maxima = batch.Left.Maxima + (long)slot * batch.Left.Rows.PaddedRows;
        double* sums = batch.Left.Sums + (long)slot * batch.Left.Rows.PaddedRows;
        TakePairs(ref batch, sums, high, low, row0, rows, column0, columns);
        T scale = T.Create((float)batch.Log2Scale);
        Logits logits = new(ref batch);
        for (int r = 0; r < rows; r++)
        {
            float* h = high + r * WeightRow, l = low + r * WeightRow;
            if (TEpilogue.Sigmoid)
            {
                // What is left out is at −∞, whose softplus is 0.
                T of = T.Zero;
                for (int c = 0; c < columns; c += T.Width) of = T.Add(of, ContrastMath.Softplus(logits.Of(T.Load(h + c), T.Load(l + c))));
                sums[row0 + r] += T.Sum(of);
                continue;
            }
            T most = T.Load(h);
            for (int c = T.Width; c < columns; c += T.Width) most = T.Max(most, T.Load(h + c));
            float tileMaximum = T.MaxAcross(most);
            if (float.IsNegativeInfinity(tileMaximum)) continue; // not one negative in this row of the tile
            T shift = T.Create(Raise(ref batch, maxima, sums, row0 + r, tileMaximum)), sum = T.Zero;
            for (int c = 0; c < columns; c += T.Width) sum = T.Add(sum, Exponential(T.Load(h + c), T.Load(l + c), shift, scale));
            sums[row0 + r] += T.Sum(sum);
        }
        if (!bothSides) return;
        maxima = batch.Right.Maxima + (long)slot * batch.Right.Rows.PaddedRows;
        sums = batch.Right.Sums + (long)slot * batch.Right.Rows.PaddedRows;
        float* lanes = stackalloc float[T.Width];
        for (int c = 0; c < columns; c += T.Width)
        {
            T most = T.Load(high + c);
            for (int r = 1; r < rows; r++) most = T.Max(most, T.Load(high + r * WeightRow + c));
            T.Store(lanes, most);
            for (int x = 0; x < T.Width; x++)
                if (!float.IsNegativeInfinity(lanes[x])) Raise(ref batch, maxima, sums, column0 + c + x, lanes[x]);
            T shift = T.Load(maxima + column0 + c), sum = T.Zero;
            for (int r = 0; r < rows; r++)
                sum = T.Add(sum, Exponential(T.Load(high + r * WeightRow + c), T.Load(low + r * WeightRow + c), shift, scale));
            T.Store(lanes, sum);
            for (int x = 0; x < T.Width; x++)
                if (!float.IsNegativeInfinity(maxima[column0 + c + x])) sums[column0 + c + x] += lanes[x];
        }
    }

    /// <summary>Lets a row's maximum grow, and rescales its sum to it. NaN stays.</summary>
    private static float Raise(ref ContrastBatch batch, float* maxima, double* sums, int row, float candidate)
    {
        float old = maxima[row];
        if (candidate <= old) return old;
        float maximum = maxima[row] = MathF.Max(old, candidate);
        if (!float.IsNegativeInfinity(old)) sums[row] *= Math.Exp(((double)old - maximum) / batch.Temperature);
        return maximum;
    }

    /// <summary>weights[i, j] = E_ij u_i r_i + E_ji u_j r_j, or of σ(x_ij), and the pairs'.</summary>
    internal static void Weights(ref ContrastBatch batch, float* weights, int blockI, int blockJ)
    {
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* low = ContrastScratch.Low(ref batch, weights), labels = (float*)batch.Right.Labels + column0;
        Similarities(ref batch, weights, low, blockI, blockJ);
        T scale = T.Create((float)batch.Log2Scale);
        Logits logits = new(ref batch);
        for (int r = 0; r < rows; r++)
        {
            T shift = T.Create(batch.Left.Shift[row0 + r]), own = T.Create(batch.Left.Weight[row0 + r]), share = T.Create(batch.Left.PositiveWeight[row0 + r]);
            T label = TEpilogue.Masked || TEpilogue.Supervised ? T.Create(((float*)batch.Left.Labels)[row0 + r]) : T.Zero;
            float* w = weights + r * WeightRow, l = low + r * WeightRow;
            int positive = batch.PositiveOf(row0 + r) - column0;
            // A sigmoid's positive keeps its digits too.
            double logit = TEpilogue.Sigmoid && positive >= 0 && positive < columns ? ((double)w[positive] + l[positive]) / batch.Temperature + batch.Bias : 0;
            for (int c = 0; c < columns; c += T.Width)
            {
                T h = T.Load(w + c), tail = T.Load(l + c), weight;
                if (TEpilogue.Sigmoid) weight = T.Mul(ContrastMath.Sigmoid(logits.Of(h, tail)), own);
                else if (!TEpilogue.TwoSided) weight = T.Mul(Exponential(h, tail, shift, scale), own);
                else
                {
                    T other = T.Mul(Exponential(h, tail, T.Load(batch.Right.Shift + column0 + c), scale), T.Load(batch.Right.Weight + column0 + c));
                    weight = T.Fma(Exponential(h, tail, shift, scale), own, other);
                }
                if (TEpilogue.Masked) weight = T.SelectSameBits(T.Load(labels + c), label, T.Zero, weight);
                if (TEpilogue.Supervised)
                    weight = T.Sub(weight, T.SelectSameBits(T.Load(labels + c), label, T.Add(share, T.Load(batch.Right.PositiveWeight + column0 + c)), T.Zero));
                T.Store(w + c, weight);
            }
            if (!TEpilogue.Sigmoid) continue;
            for (int c = Math.Max(0, batch.Right.Rows.Count - column0); c < columns; c++) w[c] = 0;
            if (positive >= 0 && positive < columns) w[positive] = -batch.Left.PositiveWeight[row0 + r] * (float)ContrastMath.Sigmoid(-logit);
        }
        if (TEpilogue.Sigmoid) return;
        for (int column = 0; column < columns; column += batch.Right.Rows.Panel)
            if (batch.IsSpecial(row0, rows, column0 + column))
                ContrastTiles<T, TEpilogue>.SetPairs(ref batch, weights + column, row0, rows, column0 + column);
    }

    /// <summary>
    /// exp((high + low − shift)/τ), held within 2^±126: below it nothing counts beside a maximum of 1, above it is only what
    /// has no weight: columns of padding, which meet zeros, and what labels leave out.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Exponential(T high, T low, T shift, T scale)
    {
        T y = T.Mul(T.Add(T.Sub(high, shift), low), scale);
        return ContrastMath.Exp2(T.Max(T.Min(y, T.Create(126)), T.Create(-126)));
    }

    /// <summary>s/τ + b in base 2 for SigLIP, which has no shift that would keep it small: factors in two floats each.</summary>
    private readonly struct Logits
    {
        private readonly T _scale, _scaleRest, _bias, _biasRest;

        internal Logits(ref ContrastBatch batch)
        {
            double scale = batch.Log2Scale, bias = batch.Bias * Math.Log2(Math.E);
            (_scale, _scaleRest) = (T.Create((float)scale), T.Create((float)(scale - (float)scale)));
            (_bias, _biasRest) = (T.Create((float)bias), T.Create((float)(bias - (float)bias)));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        internal T Of(T high, T low)
        {
            // product and bias each as value + rest; their sum by Knuth's two-sum
            T product = T.Mul(high, _scale), rest = T.Fma(high, _scale, T.Sub(T.Zero, product));
            rest = T.Add(T.Fma(high, _scaleRest, T.Fma(low, _scale, rest)), _biasRest);
            T sum = T.Add(product, _bias), fromBias = T.Sub(sum, product);
            T error = T.Add(T.Sub(product, T.Sub(sum, fromBias)), T.Sub(_bias, fromBias));
            // −∞ is what was left out; only there the rests are no numbers
            T y = T.Add(sum, T.Add(error, rest));
            return T.SelectGreater(T.Create(-3e38f), high, T.Create(-1e30f), y);
        }
    }

    /// <summary>s_ij of a tile as high + low.</summary>
    private static void Similarities(ref ContrastBatch batch, float* high, float* low, int blockI, int blockJ)
    {
        int panel = batch.Left.Rows.Panel, dim = batch.Left.Rows.Dim;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        float* part = ContrastScratch.Micro(ref batch, high);
        Tile tile = ContrastTiles<T, TEpilogue>.SimilarityTile(ref batch, high, panel);
        tile.Out0 = part;
        for (int column = column0; column < column0 + columns; column += panel)
            for (int row = row0, count; row < row0 + rows; row += count)
            {
                count = Tile.NextRows(panel - row % panel, Tile.MaxRows<T>());
                float* h = high + (row - row0) * WeightRow + column - column0;
                float* l = low + (row - row0) * WeightRow + column - column0;
                for (int k = 0; k < dim; k += Run)
                {
                    tile.A0 = batch.Left.Z + batch.Left.Rows.RowPanel(row) + row % panel + (long)k * panel;
                    tile.B = batch.Right.Z + batch.Right.Rows.RowPanel(column) + (long)k * panel;
                    tile.Inner = Math.Min(Run, dim - k);
                    tile.Run<T>(count, panel);
                    for (int r = 0; r < count; r++)
                        for (int c = 0; c < panel; c += T.Width)
                        {
                            float* sum = h + r * WeightRow + c, error = l + r * WeightRow + c;
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

    /// <summary>Keeps the positives, and leaves the negatives only: −∞ for self, partner, padding and what labels leave out.</summary>
    private static void TakePairs(ref ContrastBatch batch, double* sums, float* high, float* low, int row0, int rows, int column0, int columns)
    {
        int real = batch.Right.Rows.Count - column0;
        T leftOut = T.Create(float.NegativeInfinity);
        for (int r = 0; r < rows; r++, high += WeightRow, low += WeightRow)
        {
            int row = row0 + r, self = batch.IsSquare ? row - column0 : -1, positive = batch.PositiveOf(row) - column0;
            if (row >= batch.Left.Rows.Count) { new Span<float>(high, columns).Fill(float.NegativeInfinity); continue; }
            bool here = positive >= 0 && positive < Math.Min(columns, real);
            double similarity = here ? (double)high[positive] + low[positive] : 0;
            if (here)
            {
                batch.Positive[row] = similarity;
                if (TEpilogue.Sigmoid) sums[row] += ContrastMath.Softplus(-(similarity / batch.Temperature + batch.Bias));
                high[positive] = float.NegativeInfinity;
            }
            if (TEpilogue.Masked)
            {
                T label = T.Create(((float*)batch.Left.Labels)[row]);
                for (int c = 0; c < columns; c += T.Width)
                    T.Store(high + c, T.SelectSameBits(T.Load((float*)batch.Right.Labels + column0 + c), label, leftOut, T.Load(high + c)));
            }
            if (self >= 0 && self < columns) high[self] = float.NegativeInfinity;
            for (int c = Math.Max(0, real); c < columns; c++) high[c] = float.NegativeInfinity;
        }
    }

    /// <summary>SupCon's positives, in double: 1/τ magnifies the rounding of their sum.</summary>
    private static void SumPositives(ref ContrastBatch batch, int slot, float* high, float* low, int row0, int rows, int column0, int columns, bool bothSides)
    {
        double* ofRows = batch.Left.PositiveSums + (long)slot * batch.Left.Rows.PaddedRows, ofColumns = batch.Right.PositiveSums + (long)slot * batch.Right.Rows.PaddedRows;
        for (int r = 0; r < rows; r++, high += WeightRow, low += WeightRow)
            for (int c = 0; c < columns; c++)
            {
                if (batch.Left.Labels[row0 + r] != batch.Right.Labels[column0 + c] || row0 + r == column0 + c) continue;
                double similarity = (double)high[c] + low[c];
                ofRows[row0 + r] += similarity;
                if (bothSides) ofColumns[column0 + c] += similarity;
            }
    }
}
