using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>What is done once per row: normalise, round and pack; the gradient through the norm.</summary>
internal static unsafe class ContrastRows<T> where T : struct, ISimd<T>
{
    /// <summary>Items are the left side's, then the right side's.</summary>
    internal static void Normalize(ref ContrastBatch batch, int worker, int item)
    {
        if (item < batch.Left.Items) Normalize(ref batch, ref batch.Left, item, isLeft: true);
        else Normalize(ref batch, ref batch.Right, item - batch.Left.Items, isLeft: false);
    }

    private static void Normalize(ref ContrastBatch batch, ref ContrastSide side, int item, bool isLeft)
    {
        PackedRows rows = side.Rows;
        bool scaled = batch.IsScaledInDouble;
        long panelStride = (long)rows.PaddedRows * rows.Panel;
        int first = item * ContrastBatch.RowsPerItem, end = Math.Min(first + ContrastBatch.RowsPerItem, rows.PaddedRows);
        for (int i = first; i < end; i++)
        {
            if (i < rows.Count)
            {
                float* h = Row(side.Source, isLeft ? batch.OriginalRow(i) : i), to = side.Z + rows.ColumnPanel(i, 0);
                side.InverseNorm[i] = scaled ? CopyRow(h, to, rows, panelStride) : NormalizeRow(ref batch, h, to, rows, panelStride);
                continue;
            }
            side.InverseNorm[i] = 0;
            ClearRow(side.Z, rows, i);
        }
        PackTransposed(side.Z, rows, first, end);
        for (int i = first; i < Math.Min(end, rows.Count); i++)
        {
            if (scaled) Divide(side.Z + rows.ColumnPanel(i, 0), rows, panelStride, side.InverseNorm[i]);
            if (isLeft && batch.HasKeys) TakeKey(ref batch, i);
        }
    }

    /// <summary>The rows of a side from <paramref name="first"/> on, normalised and packed as if they were all there are.</summary>
    internal static void NormalizeBlock(ref ContrastBatch batch, in ContrastSide block, int first)
    {
        PackedRows rows = block.Rows;
        int count = Math.Min(rows.Count, batch.Right.Rows.Count - first);
        for (int i = 0; i < count; i++)
            NormalizeRow(ref batch, Row(block.Source, first + i), block.Z + rows.ColumnPanel(i, 0), rows, (long)rows.PaddedRows * rows.Panel);
        for (int i = count; i < rows.PaddedRows; i++) ClearRow(block.Z, rows, i);
        PackTransposed(block.Z, rows, 0, rows.PaddedRows);
    }

    private static void ClearRow(float* z, PackedRows rows, int i)
    {
        for (int panel = 0; panel < rows.PaddedDim / rows.Panel; panel++) new Span<float>(z + rows.ColumnPanel(i, panel), rows.Panel).Clear();
    }

    private static void PackTransposed(float* z, PackedRows rows, int first, int end)
    {
        for (int i = first; i < end; i += rows.Panel)
            for (int k = 0; k < rows.Dim; k += rows.Panel)
                Pack.Transposed(z + rows.RowPanel(i) + (long)k * rows.Panel,
                    z + rows.ColumnPanel(i, k / rows.Panel), rows.Panel, rows.Panel, rows.Panel, Math.Min(rows.Panel, rows.Dim - k));
    }

    /// <summary>A positive that is no column of a tile: its similarity is taken here, and its key kept for the gradient.</summary>
    private static void TakeKey(ref ContrastBatch batch, int i)
    {
        PackedRows rows = batch.Left.Rows;
        float* key = batch.Keys + (long)i * rows.PaddedDim, from = Row(batch.Kind == LossKind.Moco ? batch.Call.Positives : batch.Call.Keys, i), own = Row(batch.Left.Source, i);
        double inverse = NormalizeRow(ref batch, from, key, rows, rows.Panel), similarity = 0;
        float* z = batch.Left.Z + rows.ColumnPanel(i, 0);
        long panelStride = (long)rows.PaddedRows * rows.Panel;
        // As tiles form theirs: where all are the same, so is this one.
        if (batch.IsFixedShift) similarity = ContrastTiles<T, RowSoftmax>.Similarity(z, panelStride, key, rows.Panel, rows.Dim);
        else if (batch.IsScaledInDouble)
            for (int k = 0; k < rows.Dim; k++) similarity += own[k] * batch.Left.InverseNorm[i] * (from[k] * inverse);
        else
            for (int k = 0; k < rows.Dim; k++) similarity += (double)z[k / rows.Panel * panelStride + k % rows.Panel] * key[k];
        batch.Positive[i] = similarity;
    }

    private static float* Row(DeviceMatrix matrix, int row) => (float*)matrix.Pointer + row * matrix.RowStride;

    /// <summary>Writes h as it is, a panel of columns every <paramref name="panelStride"/> floats, zeros past the last.</summary>
    /// <returns>1/‖h‖; 0 for a row of zeros, NaN for one that is not finite.</returns>
    private static double CopyRow(float* h, float* to, PackedRows rows, long panelStride)
    {
        bool isFloat = false;
        double norm = Norm(h, rows.Dim, precise: true, ref isFloat);
        for (int k = 0; k < rows.Dim; k += rows.Panel, to += panelStride)
        {
            int count = Math.Min(rows.Panel, rows.Dim - k);
            // One kind of NaN for all: what the exponential does to its bits needs a payload of zero.
            if (!double.IsFinite(norm)) new Span<float>(to, count).Fill(float.NaN);
            else new ReadOnlySpan<float>(h + k, count).CopyTo(new Span<float>(to, count));
            new Span<float>(to + count, rows.Panel - count).Clear();
        }
        return !double.IsFinite(norm) ? double.NaN : norm == 0 ? 0 : 1 / norm;
    }

    /// <summary>z = h/‖h‖ of a row that <see cref="CopyRow"/> wrote, in its place.</summary>
    private static void Divide(float* h, PackedRows rows, long panelStride, double inverse)
    {
        for (int k = 0; k < rows.Dim; k += rows.Panel, h += panelStride)
            for (int c = 0; c < Math.Min(rows.Panel, rows.Dim - k); c++) h[c] = (float)(h[c] * inverse);
    }

    /// <summary>Writes z, a panel of columns every <paramref name="panelStride"/> floats, zeros past the last.</summary>
    /// <returns>1/‖h‖; 0 for a row of zeros; 1 when rows stay as they are.</returns>
    private static double NormalizeRow(ref ContrastBatch batch, float* h, float* to, PackedRows rows, long panelStride)
    {
        int dim = rows.Dim;
        bool normalize = batch.Call.Normalize, isFloat = false;
        double norm = Norm(h, dim, precise: !normalize || !batch.IsFixedShift, ref isFloat);
        for (int k = 0; k < dim; k += rows.Panel, to += panelStride)
        {
            int count = Math.Min(rows.Panel, dim - k), c = 0;
            // One kind of NaN for all: what the exponential does to its bits needs a payload of zero.
            if (!double.IsFinite(norm)) { new Span<float>(to, count).Fill(float.NaN); c = count; }
            else if (norm == 0) { new Span<float>(to, count).Clear(); c = count; }
            else if (!normalize) { new ReadOnlySpan<float>(h + k, count).CopyTo(new Span<float>(to, count)); c = count; }
            else if (isFloat)
                for (T divisor = T.Create((float)norm); c + T.Width <= count; c += T.Width)
                    T.Store(to + c, T.Div(T.Load(h + k + c), divisor));
            for (; c < count; c++) to[c] = (float)(h[k + c] / norm);
            if (batch.Call.Precision != Precision.Float32)
                for (c = 0; c < count; c++) to[c] = Round(to[c], batch.Call.Precision);
            new Span<float>(to + count, rows.Panel - count).Clear();
        }
        return !normalize ? 1 : norm == 0 ? 0 : 1 / norm;
    }

    /// <summary>z = h/‖h‖, rounded, dense; zeros for a row of zeros, NaN for one that is not finite.</summary>
    /// <returns>1/‖h‖, at most the largest float; 0 for a row of zeros, NaN for one that is not finite.</returns>
    internal static float UnitRow(float* z, float* h, int dim, Precision precision)
    {
        int d = 0;
        bool isFloat = false;
        double norm = Norm(h, dim, precise: false, ref isFloat);
        if (norm == 0 || !double.IsFinite(norm))
        {
            float all = norm == 0 ? 0 : float.NaN;
            new Span<float>(z, dim).Fill(all);
            return all;
        }
        if (isFloat)
            for (T divisor = T.Create((float)norm); d + T.Width <= dim; d += T.Width) T.Store(z + d, T.Div(T.Load(h + d), divisor));
        for (; d < dim; d++) z[d] = (float)(h[d] / norm);
        if (precision != Precision.Float32)
            for (d = 0; d < dim; d++) z[d] = Round(z[d], precision);
        return (float)Math.Min(1 / norm, float.MaxValue);
    }

    /// <summary>To the nearest number of the format, as the GPU's conversions: bfloat16 ties to even, TF32 away from zero.</summary>
    private static float Round(float value, Precision precision)
    {
        if (!float.IsFinite(value)) return value;
        uint bits = BitConverter.SingleToUInt32Bits(value);
        bits = precision == Precision.BFloat16 ? (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000 : (bits + 0x1000) & 0xFFFFE000;
        return BitConverter.UInt32BitsToSingle(bits);
    }

    /// <summary>
    /// ‖h‖. In double, where no square of a float over- or underflows, unless float will do: the relative error of the
    /// norm shifts every logit of the row by as much of 1/τ.
    /// </summary>
    private static double Norm(float* h, int dim, bool precise, ref bool isFloat)
    {
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

    internal static void FinishLeft(ref ContrastBatch batch, int worker, int item) => Finish(ref batch, ref batch.Left, item, isLeft: true);

    internal static void FinishRight(ref ContrastBatch batch, int worker, int item) => Finish(ref batch, ref batch.Right, item, isLeft: false);

    private static void Finish(ref ContrastBatch batch, ref ContrastSide side, int item, bool isLeft)
    {
        PackedRows rows = side.Rows;
        bool normalize = batch.Call.Normalize, keyed = isLeft && batch.HasKeys, onePass = batch.IsOnePass;
        int slots = onePass ? 1 : batch.Slots;
        int first = item * ContrastBatch.RowsPerItem, end = Math.Min(first + ContrastBatch.RowsPerItem, rows.Count);
        for (int i = first; i < end; i++)
        {
            int row = isLeft ? batch.OriginalRow(i) : i;
            float* sums = side.Accumulators + (long)i * rows.PaddedDim;
            T dot = T.Zero, key = T.Create(keyed ? -side.PositiveWeight[i] : 0), weight = T.Create(batch.IsSwept ? side.Weight[i] : 1);
            for (int k = 0; k < rows.Dim; k += rows.Panel)
            {
                float* z = side.Z + rows.ColumnPanel(i, k / rows.Panel);
                for (int c = 0; c < rows.Panel; c += T.Width)
                {
                    // Past the last column lie zeros, or one vector of sums never begun, which are zeros too.
                    T g = onePass ? T.Mul(weight, T.Load(side.GradientSums + (long)i * rows.PaddedDim + k + c)) : T.Load(sums + k + c);
                    for (int slot = 1; slot < slots; slot++) g = T.Add(g, T.Load(sums + slot * rows.Sums + k + c));
                    if (keyed) g = T.Fma(key, T.Load(batch.Keys + (long)i * rows.PaddedDim + k + c), g);
                    T.Store(sums + k + c, g);
                    dot = T.Fma(g, T.Load(z + c), dot);
                }
            }
            float along = T.Sum(dot);
            side.Along[i] = along;
            if (side.Gradient.Pointer == 0) continue;
            // grad = scale/‖h‖ · (g − z (z·g))
            float* gradient = Row(side.Gradient, row);
            T minus = T.Create(-along);
            // In two factors, since their product need not be a float where the gradient is; each finite, so that 0 stays 0.
            double whole = Math.Clamp(batch.GradientScale * Math.Min(side.InverseNorm[i], float.MaxValue), -1e75, 1e75), power = whole == 0 ? 1 : Math.ScaleB(1, Math.ILogB(whole) / 2);
            T factor = T.Create((float)(whole / power)), rest = T.Create((float)power);
            for (int k = 0; k < rows.Dim; k += rows.Panel)
            {
                float* z = side.Z + rows.ColumnPanel(i, k / rows.Panel);
                for (int c = 0; c < rows.Panel && k + c < rows.Dim; c += T.Width)
                {
                    T g = T.Load(sums + k + c);
                    if (normalize) g = T.Fma(minus, T.Load(z + c), g);
                    g = T.Mul(T.Mul(g, factor), rest);
                    if (k + c + T.Width <= rows.Dim) T.Store(gradient + k + c, g);
                    else T.StorePartial(gradient + k + c, g, rows.Dim - k - c);
                }
            }
        }
    }
}
