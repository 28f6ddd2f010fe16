using KernelContrast.Losses;

namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// s[i, j] = (a[i] · b[j]) / (‖a[i]‖ ‖b[j]‖), all pairs of rows. A row of zeros is similar to nothing: 0, with gradient
    /// 0. A row with NaN or an infinity gives NaN.
    /// </summary>
    /// <param name="a">[N, D].</param>
    /// <param name="b">[M, D]; may be the very same tensor as <paramref name="a"/>, for which half of the products are formed.</param>
    /// <param name="precision">In which numbers products are formed; null: in those of <see cref="Autocast"/>.</param>
    /// <returns>Float32 [N, M], in [−1, 1] up to rounding.</returns>
    /// <exception cref="ArgumentException">The rows have different lengths, or none.</exception>
    public static Tensor CosineSimilarity(Tensor a, Tensor b, Precision? precision = null)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return CosineSimilarityOp.Apply(a, b, precision ?? Autocast.Precision);
    }
}

/// <summary>
/// Forward: x_i = a_i/‖a_i‖, y_j = b_j/‖b_j‖, s_ij = x_i·y_j. Backward, with G = ∂/∂s and g_i = Σ_j G_ij y_j:
/// grad_a_i = (g_i − x_i (x_i·g_i)) / ‖a_i‖, and likewise grad_b with Gᵀ and x; when b is a, grad_a with G + Gᵀ.
/// Norms are taken as in the losses; 0 for a row of zeros. Saves x, y and the inverse norms.
/// </summary>
internal static partial class CosineSimilarityOp
{
    internal const string Name = "cosine-similarity";

    internal abstract class Kernels
    {
        /// <summary>Bytes that forward leaves for backward.</summary>
        internal abstract long SavedBytes(Device device, in CosineSimilarityCall call);

        /// <summary>Bytes of scratch memory of the backward pass; forward needs none.</summary>
        internal abstract long WorkspaceBytes(Device device, in CosineSimilarityCall call);

        /// <summary>Fills Similarities and Saved from A and B.</summary>
        internal abstract void Forward(Device device, in CosineSimilarityCall call);

        /// <summary>Fills GradA and GradB as far as they have addresses, from Saved and GradSimilarities.</summary>
        internal abstract void Backward(Device device, in CosineSimilarityCall call);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor a, Tensor b, Precision precision)
    {
        Device device = Check.SameDevice(Name, a, b);
        Check.Rank(Name, a, 2);
        Check.Rank(Name, b, 2);
        Check.That(a.Shape[1] == b.Shape[1], $"{Name}: a has shape {a.Shape}, b {b.Shape}; their rows must have one length.");
        int dim = a.Shape[1];
        bool itself = ReferenceEquals(a, b);
        var call = new CosineSimilarityCall(a.Shape[0], b.Shape[0], dim) { WithItself = itself, Precision = precision };
        CheckArguments(call);
        Tensor similarities = Tensor.Empty(new(call.Rows, call.Columns), device);
        using Tensor saved = ContrastOp.Bytes(device, On(device).SavedBytes(device, call));
        (call.A, call.B) = (new(a.Pointer, dim), new(b.Pointer, dim));
        (call.Similarities, call.Saved) = (similarities.Pointer, saved.Pointer);
        On(device).Forward(device, call);
        GC.KeepAlive((a, b));
        return Tape.Record(Name, similarities, [a, itself ? null : b], saved: [saved], (in context) =>
        {
            Device on = context.GradOutput.Device;
            CosineSimilarityCall back = call;
            back.A = back.B = default;
            (back.Similarities, back.Saved, back.GradSimilarities) = (0, context.Saved(0).Pointer, context.GradOutput.Pointer);
            if (context.Needs(0)) back.GradA = new(context.NewGrad(0).Pointer, dim);
            if (context.Needs(1)) back.GradB = new(context.NewGrad(1).Pointer, dim);
            using Tensor workspace = ContrastOp.Bytes(on, On(on).WorkspaceBytes(on, back));
            back.Workspace = workspace.Pointer;
            On(on).Backward(on, back);
        });
    }

    internal static void CheckArguments(in CosineSimilarityCall call)
    {
        Check.That(call.Rows >= 1 && call.Columns >= 1 && call.Dim >= 1, $"{Name}: there are {call.Rows} and {call.Columns} rows of {call.Dim} columns, expected at least one of each.");
        Check.That(!call.WithItself || call.Rows == call.Columns, $"{Name}: b is a, but there are {call.Rows} and {call.Columns} rows.");
        Check.That((long)Math.Max(call.Rows, call.Columns) * call.Dim <= Check.MostElements, $"{Name}: {Math.Max(call.Rows, call.Columns)} rows of {call.Dim} are more than 2⁴⁴ elements.");
        Check.That(call.Precision is Precision.Float32 or Precision.Tf32 or Precision.BFloat16, $"{Name}: there is no precision {call.Precision}.");
    }

    internal static void CheckForward(in CosineSimilarityCall call)
    {
        CheckArguments(call);
        Matrix(call.A, "a", call.Dim);
        if (!call.WithItself) Matrix(call.B, "b", call.Dim);
        Check.That(call.Similarities != 0 && call.Saved != 0, $"{Name}: set Similarities and Saved to memory of the device before Forward.");
        Check.Aligned(Name, call.Similarities, 4, "Similarities");
        Check.Aligned(Name, call.Saved, 4, "Saved");
    }

    internal static void CheckBackward(in CosineSimilarityCall call)
    {
        CheckArguments(call);
        Check.That(call.GradSimilarities != 0 && call.Saved != 0 && call.Workspace != 0, $"{Name}: set GradSimilarities, Saved and Workspace to memory of the device before Backward.");
        Check.Aligned(Name, call.GradSimilarities, 4, "GradSimilarities");
        Check.Aligned(Name, call.Saved, 4, "Saved");
        Check.Aligned(Name, call.Workspace, 4, "Workspace");
        Check.Aligned(Name, call.GradA.Pointer, 4, "GradA");
        Check.Aligned(Name, call.GradB.Pointer, 4, "GradB");
        Check.That(!call.WithItself || call.GradB.Pointer == 0, $"{Name}: b is a, whose gradient is all there is; leave GradB empty.");
        foreach (DeviceMatrix gradient in (ReadOnlySpan<DeviceMatrix>)[call.GradA, call.GradB])
            if (gradient.Pointer != 0 && (gradient.RowStride < call.Dim || gradient.Type != DType.Float32))
                throw new ArgumentException($"{Name}: a gradient is of {gradient.Type} with a row stride of {gradient.RowStride}, expected Float32 and {call.Dim} or more.");
    }

    private static void Matrix(DeviceMatrix matrix, string what, int dim)
    {
        Check.That(matrix.Pointer != 0 && matrix.RowStride >= dim && matrix.Type.IsFloat(),
            $"{Name}: {what} is at {matrix.Pointer:x} with a row stride of {matrix.RowStride} and holds {matrix.Type}, expected an address, a stride of {dim} or more, and Float32 or BFloat16.");
        Check.Aligned(Name, matrix.Pointer, matrix.Type.Size(), what);
    }
}
