using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>The family on the CPU in double precision, with whole matrices: right, and slow.</summary>
internal sealed unsafe class ContrastCpu : ContrastKernels
{
    internal override long SavedBytes(Device device, in LossCall call) =>
        4L * call.Dim * (call.Rows + (call.IsWithinBatch ? 0 : call.Columns) + (call.Kind == LossKind.Moco ? call.Rows : 0));

    internal override long WorkspaceBytes(Device device, in LossCall call, bool backward) => 0;

    internal override void Forward(Device device, in LossCall call)
    {
        float* saved = (float*)call.Saved;
        Copy(call.Embeddings, call.Rows, call.Dim, ref saved);
        if (!call.IsWithinBatch) Copy(call.Keys, call.Columns, call.Dim, ref saved);
        if (call.Kind == LossKind.Moco) Copy(call.Positives, call.Rows, call.Dim, ref saved);
        NaiveContrast naive = Naive(call);
        float* loss = (float*)call.Loss;
        if (call.Reduction != Reduction.None) loss[0] = (float)naive.Loss(call.Reduction);
        else
            for (int i = 0; i < call.Rows; i++) loss[i] = (float)naive.Losses[i];
    }

    internal override void Backward(Device device, in LossCall call)
    {
        var upstream = new double[call.Reduction == Reduction.None ? call.Rows : 1];
        for (int i = 0; i < upstream.Length; i++) upstream[i] = ((float*)call.GradLoss)[i];
        NaiveContrast.Gradients gradient = Naive(call).Gradient(upstream, call.Reduction).Value;
        Write(call.GradEmbeddings, gradient.Rows, call.Dim);
        Write(call.GradKeys, gradient.Columns, call.Dim);
        if (call.GradTemperature != 0) *(float*)call.GradTemperature = (float)gradient.Temperature;
        if (call.GradBias != 0) *(float*)call.GradBias = (float)gradient.Bias;
    }

    private static NaiveContrast Naive(in LossCall call)
    {
        float* saved = (float*)call.Saved;
        int dim = call.Dim, labelled = call.Kind == LossKind.Moco ? call.Rows + call.Columns : call.Columns;
        double[] rows = Read(ref saved, call.Rows * dim);
        double[]? keys = call.IsWithinBatch ? null : Read(ref saved, call.Columns * dim);
        double[]? positives = call.Kind == LossKind.Moco ? Read(ref saved, call.Rows * dim) : null;
        return new(call.Kind, rows, keys, positives, dim, call.TemperatureAt == 0 ? call.Temperature : *(float*)call.TemperatureAt,
            call.BiasAt == 0 ? call.Bias : *(float*)call.BiasAt, call.Layout,
            call.Labels == 0 ? null : new ReadOnlySpan<int>((void*)call.Labels, labelled).ToArray(), call.Normalize);
    }

    private static double[] Read(ref float* saved, int count)
    {
        var values = new double[count];
        for (int i = 0; i < count; i++) values[i] = *saved++;
        return values;
    }

    private static void Copy(DeviceMatrix matrix, int rows, int dim, ref float* saved)
    {
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < dim; k++) *saved++ = ((float*)matrix.Pointer)[i * matrix.RowStride + k];
    }

    private static void Write(DeviceMatrix matrix, double[] values, int dim)
    {
        if (matrix.Pointer == 0) return;
        for (int i = 0; i < values.Length; i++) ((float*)matrix.Pointer)[i / dim * matrix.RowStride + i % dim] = (float)values[i];
    }
}
