using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>Labels in the order of packing, such that two are equal only where rows share a label.</summary>
internal static unsafe class ContrastLabels
{
    internal static void Fill(ref ContrastBatch batch)
    {
        if (batch.Call.Labels == 0) return;
        int* labels = (int*)batch.Call.Labels;
        int rows = batch.Left.Rows.Count;
        for (int i = 0; i < batch.Left.Rows.PaddedRows; i++)
            batch.Left.Labels[i] = i < rows && labels[batch.OriginalRow(i)] >= 0 ? labels[batch.OriginalRow(i)] : -1 - i;
        if (batch.IsSquare) return;
        int first = batch.Kind == LossKind.Moco ? rows : 0;
        for (int j = 0; j < batch.Right.Rows.PaddedRows; j++)
            batch.Right.Labels[j] = j < batch.Right.Rows.Count && labels[first + j] >= 0 ? labels[first + j] : -1 - first - j;
    }

    /// <summary>How many other rows share a row's label.</summary>
    internal static int Partners(ref ContrastBatch batch, int row) =>
        new ReadOnlySpan<int>(batch.Left.Labels, batch.Left.Rows.Count).Count(batch.Left.Labels[row]) - 1;

    /// <summary>Whether a row has a negative of another label.</summary>
    internal static bool HasNegative(ref ContrastBatch batch, int row)
    {
        var columns = new ReadOnlySpan<int>(batch.Right.Labels, batch.Right.Rows.Count);
        int label = batch.Left.Labels[row], at = columns.IndexOfAnyExcept(label);
        return at >= 0 && (at != batch.PositiveOf(row) || columns[(at + 1)..].ContainsAnyExcept(label));
    }
}

/// <summary>What each row's sums become: its loss, and the numbers backward weighs tiles with. In double precision.</summary>
internal static unsafe class ContrastLosses
{
    internal static void FinishLeft(ref ContrastBatch batch, int worker, int item) => Finish(ref batch, ref batch.Left, item);

    internal static void FinishRight(ref ContrastBatch batch, int worker, int item) => Finish(ref batch, ref batch.Right, item);

    private static void Finish(ref ContrastBatch batch, ref ContrastSide side, int item)
    {
        int first = item * ContrastBatch.RowsPerItem, end = Math.Min(first + ContrastBatch.RowsPerItem, side.Rows.PaddedRows);
        for (int i = first; i < end; i++)
        {
            if (i < side.Rows.Count && FinishRow(ref batch, ref side, i)) continue;
            // A row of padding, or one that does not count: every weight of its is 0.
            side.InverseSum[i] = side.Share[i] = 0;
            side.Shift[i] = side.Losses[i] = 0;
        }
    }

    /// <summary>False when the row does not count.</summary>
    private static bool FinishRow(ref ContrastBatch batch, ref ContrastSide side, int i)
    {
        int padded = side.Rows.PaddedRows, partners = batch.Kind == LossKind.SupCon ? ContrastLabels.Partners(ref batch, i) : 1;
        if (partners == 0) return false;
        if (batch.Kind != LossKind.SupCon && batch.Call.Labels != 0 && !ContrastLabels.HasNegative(ref batch, i)) return false;
        double sum = 0;
        if (batch.Kind == LossKind.SigLip)
        {
            for (int slot = 0; slot < batch.Slots; slot++) sum += side.Sums[(long)slot * padded + i];
            side.Losses[i] = sum;
            side.Shift[i] = 0;
            side.InverseSum[i] = side.Share[i] = 1;
            return true;
        }

        double positive = 0, shift = 1;
        if (batch.Kind == LossKind.SupCon)
        {
            for (int slot = 0; slot < batch.Slots; slot++) positive += side.PositiveSums[(long)slot * padded + i];
            positive = positive / partners + (batch.IsFixedShift ? 1 : 0); // tiles with one shift sum s − 1, of which less is lost
        }
        else positive = batch.Positive[i];
        bool positiveCounts = batch.Kind is not (LossKind.SupCon or LossKind.Dcl);
        if (batch.IsFixedShift)
            for (int slot = 0; slot < batch.Slots; slot++) sum += side.Sums[(long)slot * padded + i];
        else
        {
            shift = positiveCounts ? positive : double.NegativeInfinity;
            for (int slot = 0; slot < batch.Slots; slot++) shift = Math.Max(shift, side.Maxima[(long)slot * padded + i]);
            for (int slot = 0; slot < batch.Slots; slot++)
            {
                long at = (long)slot * padded + i;
                // A slot that saw none of this row's negatives adds nothing.
                if (!double.IsNegativeInfinity(side.Maxima[at])) sum += side.Sums[at] * Math.Exp((side.Maxima[at] - shift) / batch.Temperature);
            }
        }
        double logit = (positive - shift) / batch.Temperature;
        side.Shift[i] = shift;
        if (positiveCounts)
        {
            double exponential = Math.Exp(logit), all = exponential + sum;
            // Once the positive outweighs the negatives, this keeps the digits of what is left.
            side.Losses[i] = sum < exponential ? ContrastMath.Log1P(sum / exponential) : Math.Log(all) - logit;
            side.InverseSum[i] = (float)(1 / all);
            side.Share[i] = (float)(sum / all);
        }
        else
        {
            side.Losses[i] = Math.Log(sum) - logit;
            side.InverseSum[i] = (float)(1 / sum);
            side.Share[i] = 1f / partners;
        }
        return true;
    }

    internal static void Reduce(ref ContrastBatch batch)
    {
        bool twoLosses = batch.Kind == LossKind.Clip;
        double total = 0, counted = 0;
        float* loss = (float*)batch.Call.Loss;
        for (int i = 0; i < batch.Left.Rows.Count; i++)
        {
            double row = twoLosses ? (batch.Left.Losses[i] + batch.Right.Losses[i]) / 2 : batch.Left.Losses[i];
            total += row;
            if (batch.Left.Share[i] != 0 || batch.Left.InverseSum[i] != 0) counted++;
            if (batch.Call.Reduction == Reduction.None) loss[batch.OriginalRow(i)] = (float)row;
        }
        *batch.Counted = Math.Max(1, counted);
        if (batch.Call.Reduction == Reduction.Mean) total /= Math.Max(1, counted);
        if (batch.Call.Reduction != Reduction.None) *loss = (float)total;
    }

    /// <summary>
    /// u·r and u·share of every row. The upstream gradient of a mean or sum, the same for all, waits for the end; of each
    /// row's the power of two below the largest does, since r reaches 7e37 and times it need not be a float.
    /// </summary>
    internal static void SetWeights(ref ContrastBatch batch)
    {
        float* upstream = (float*)batch.Call.GradLoss;
        double unit = batch.Call.Reduction switch
        {
            Reduction.Mean => *upstream / *batch.Counted,
            Reduction.Sum => *upstream,
            _ => PowerOfTwo(new(upstream, batch.Left.Rows.Count)),
        };
        Set(ref batch, ref batch.Left, counts: true, unit);
        if (!batch.IsSquare && !batch.IsSwept) Set(ref batch, ref batch.Right, batch.HasColumnSums, unit);
        // Finite, so that 0 stays 0 under an infinite upstream gradient; NaN stays.
        batch.GradientScale = Math.Clamp(unit * (batch.Kind == LossKind.Clip ? 0.5 : 1) / batch.Temperature, double.MinValue, double.MaxValue);

        static void Set(ref ContrastBatch batch, ref ContrastSide side, bool counts, double unit)
        {
            bool apart = batch.Call.Reduction == Reduction.None;
            for (int i = 0; i < side.Rows.PaddedRows; i++)
            {
                bool isRow = counts && i < side.Rows.Count && (side.InverseSum[i] != 0 || side.Share[i] != 0); // else it stays out, whatever its gradient
                float u = !isRow ? 0 : apart ? (float)(((float*)batch.Call.GradLoss)[batch.OriginalRow(i)] / unit) : 1;
                side.Weight[i] = isRow ? u * side.InverseSum[i] : 0;
                side.PositiveWeight[i] = isRow ? u * side.Share[i] : 0;
            }
        }
    }

    /// <summary>The power of two at or below the largest finite magnitude.</summary>
    private static double PowerOfTwo(ReadOnlySpan<float> values)
    {
        float largest = float.Epsilon;
        foreach (float value in values)
            if (float.IsFinite(value)) largest = Math.Max(largest, Math.Abs(value));
        return Math.ScaleB(1, Math.ILogB((double)largest));
    }

    internal static double SumOfWeights(ref ContrastBatch batch)
    {
        double sum = 0;
        for (int slot = 0; slot < batch.Slots; slot++) sum += batch.WeightSums[slot];
        return sum;
    }

    /// <summary>Weights of rows before their losses are known: 1, and 0 for padding and a row that does not count.</summary>
    internal static void CountLeft(ref ContrastBatch batch, int worker, int item)
    {
        int first = item * ContrastBatch.RowsPerItem, end = Math.Min(first + ContrastBatch.RowsPerItem, batch.Left.Rows.PaddedRows);
        for (int i = first; i < end; i++)
            batch.Left.Weight[i] = batch.Left.PositiveWeight[i] = i < batch.Left.Rows.Count && (batch.Call.Labels == 0 || ContrastLabels.HasNegative(ref batch, i)) ? 1 : 0;
    }

    /// <summary>∂/∂τ = −1/τ Σ z·g over the rows, half of it within one batch, where every similarity belongs to two rows; ∂/∂b.</summary>
    internal static void FinishScalars(ref ContrastBatch batch)
    {
        if (batch.Call.GradTemperature != 0)
        {
            double along = 0;
            for (int i = 0; i < batch.Left.Rows.Count; i++) along += batch.Left.Along[i];
            *(float*)batch.Call.GradTemperature = (float)(-along * batch.GradientScale / batch.Temperature * (batch.IsSquare ? 0.5 : 1));
        }
        if (!batch.WantsBias) return;
        double weights = batch.IsDirect ? *batch.WeightSum : SumOfWeights(ref batch);
        *(float*)batch.Call.GradBias = (float)(weights * batch.GradientScale * batch.Temperature);
    }
}
