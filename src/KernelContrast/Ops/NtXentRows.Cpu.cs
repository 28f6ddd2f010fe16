using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>What NT-Xent does once per row: normalise and pack, the loss, the gradient through the norm.</summary>
internal static unsafe class NtXentRows<T> where T : struct, ISimd<T>
{
    internal static void Normalize(ref NtXentBatch batch, int worker, int item)
    {
        PackedRows rows = batch.Rows;
        int first = item * NtXentBatch.RowsPerItem, end = Math.Min(first + NtXentBatch.RowsPerItem, rows.PaddedRows);
        for (int i = first; i < end; i++)
        {
            if (i < rows.Count) NormalizeRow(ref batch, i);
            else
                for (int panel = 0; panel < rows.PaddedDim / rows.Panel; panel++)
                    new Span<float>(batch.Normalized + rows.ColumnPanel(i, panel), rows.Panel).Clear();
        }
        for (int i = first; i < end; i += rows.Panel)
            for (int k = 0; k < rows.Dim; k += rows.Panel)
                Pack.Transposed(batch.Normalized + rows.RowPanel(i) + (long)k * rows.Panel,
                    batch.Normalized + rows.ColumnPanel(i, k / rows.Panel), rows.Panel, rows.Panel, rows.Panel, Math.Min(rows.Panel, rows.Dim - k));
    }

    private static void NormalizeRow(ref NtXentBatch batch, int i)
    {
        PackedRows rows = batch.Rows;
        int row = batch.OriginalRow(i), dim = rows.Dim;
        float* h = batch.Embeddings + (long)row * dim;
        double norm = Norm(h, dim, precise: !batch.IsFixedShift, out bool isFloat);
        batch.InverseNorm[row] = norm == 0 ? 0 : (float)Math.Min(1 / norm, float.MaxValue);
        for (int k = 0; k < dim; k += rows.Panel)
        {
            float* z = batch.Normalized + rows.ColumnPanel(i, k / rows.Panel);
            int count = Math.Min(rows.Panel, dim - k), c = 0;
            // One kind of NaN for all: what the exponential below does to its bits needs a payload of zero.
            if (!double.IsFinite(norm)) { new Span<float>(z, count).Fill(float.NaN); c = count; }
            else if (norm == 0) { new Span<float>(z, count).Clear(); c = count; }
            else if (isFloat)
                for (T divisor = T.Create((float)norm); c + T.Width <= count; c += T.Width)
                    T.Store(z + c, T.Div(T.Load(h + k + c), divisor));
            for (; c < count; c++) z[c] = (float)(h[k + c] / norm);
            new Span<float>(z + count, rows.Panel - count).Clear();
        }
    }

    /// <summary>
    /// ‖h‖. In double, where no square of a float over- or underflows, unless float will do: the relative error of the
    /// norm shifts every logit of the row by as much of 1/τ.
    /// </summary>
    private static double Norm(float* h, int dim, bool precise, out bool isFloat)
    {
        isFloat = false;
        if (!precise)
        {
            T sum = T.Zero;
            int k = 0;
            for (; k + T.Width <= dim; k += T.Width) sum = T.Fma(T.Load(h + k), T.Load(h + k), sum);
            float squares = T.Sum(sum);
            for (; k < dim; k++) squares += h[k] * h[k];
            isFloat = squares is > 1e-20f and < 1e30f;
            if (isFloat) return (float)Math.Sqrt(squares);
        }
        double exact = 0;
        for (int k = 0; k < dim; k++) exact += (double)h[k] * h[k];
        return Math.Sqrt(exact);
    }

    internal static void FinishForward(ref NtXentBatch batch, int worker, int item)
    {
        int first = item * NtXentBatch.RowsPerItem, end = Math.Min(first + NtXentBatch.RowsPerItem, batch.Rows.Count);
        for (int i = first; i < end; i++)
        {
            double shift, negatives = 0, positive, loss;
            if (batch.IsFixedShift)
            {
                shift = 1;
                positive = batch.Positive[i];
                for (int slot = 0; slot < batch.Slots; slot++) negatives += batch.Sums[(long)slot * batch.Rows.PaddedRows + i];
                loss = Math.Log(1 + negatives / positive);
            }
            else
            {
                shift = (float)batch.Positive[i];
                for (int slot = 0; slot < batch.Slots; slot++) shift = Math.Max(shift, batch.Maxima[(long)slot * batch.Rows.PaddedRows + i]);
                double similarity = batch.Positive[i] - shift;
                positive = Math.Exp(similarity / batch.Temperature);
                for (int slot = 0; slot < batch.Slots; slot++)
                {
                    long at = (long)slot * batch.Rows.PaddedRows + i;
                    negatives += batch.Sums[at] * Math.Exp((batch.Maxima[at] - shift) / batch.Temperature);
                }
                loss = Math.Log(positive + negatives) - similarity / batch.Temperature;
            }
            int row = batch.OriginalRow(i);
            batch.Shift[row] = (float)shift;
            batch.InverseSum[row] = (float)(1 / (positive + negatives));
            batch.NegativeShare[row] = (float)(negatives / (positive + negatives));
            batch.Losses[i] = loss;
        }
    }

    internal static void FinishBackward(ref NtXentBatch batch, int worker, int item)
    {
        PackedRows rows = batch.Rows;
        double scale = batch.GradLoss / ((double)rows.Count * batch.Temperature);
        int first = item * NtXentBatch.RowsPerItem, end = Math.Min(first + NtXentBatch.RowsPerItem, rows.Count);
        long slotFloats = (long)rows.PaddedRows * rows.PaddedDim;
        for (int i = first; i < end; i++)
        {
            int row = batch.OriginalRow(i);
            float* sums = batch.Accumulators + (long)i * rows.PaddedDim, gradient = batch.Gradient + (long)row * rows.Dim;
            T dot = T.Zero;
            for (int k = 0; k < rows.Dim; k += rows.Panel)
            {
                float* z = batch.Normalized + rows.ColumnPanel(i, k / rows.Panel);
                for (int c = 0; c < rows.Panel; c += T.Width)
                {
                    // Past the last column lie zeros, or one vector of sums never begun, which are zeros too.
                    T g = T.Load(sums + k + c);
                    for (int slot = 1; slot < batch.Slots; slot++) g = T.Add(g, T.Load(sums + slot * slotFloats + k + c));
                    T.Store(sums + k + c, g);
                    dot = T.Fma(g, T.Load(z + c), dot);
                }
            }
            // grad = scale/‖h‖ · (g − z (z·g))
            T along = T.Create(-T.Sum(dot));
            T factor = T.Create((float)Math.Clamp(scale * batch.InverseNorm[row], -float.MaxValue, float.MaxValue));
            for (int k = 0; k < rows.Dim; k += rows.Panel)
            {
                float* z = batch.Normalized + rows.ColumnPanel(i, k / rows.Panel);
                for (int c = 0; c < rows.Panel && k + c < rows.Dim; c += T.Width)
                {
                    T g = T.Mul(T.Fma(along, T.Load(z + c), T.Load(sums + k + c)), factor);
                    if (k + c + T.Width <= rows.Dim) T.Store(gradient + k + c, g);
                    else T.StorePartial(gradient + k + c, g, rows.Dim - k - c);
                }
            }
        }
    }
}
