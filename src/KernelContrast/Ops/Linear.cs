namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// y = x·weightᵀ + bias: <paramref name="x"/> [N,in], <paramref name="weight"/> [out,in], <paramref name="bias"/>
    /// [out] or none, result [N,out].
    /// </summary>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias = null) => LinearOp.Apply(x, weight, bias);
}

/// <summary>
/// Forward: Y = X·Wᵀ + 1·bᵀ. Backward: grad_X = grad_Y·W, grad_W = grad_Yᵀ·X, grad_b = grad_Yᵀ·1. Saves x and weight, as
/// rounded by <see cref="Autocast"/>.
/// </summary>
internal static partial class LinearOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias);
        internal abstract void BackwardX(Tensor gradX, Tensor gradY, Tensor weight);
        internal abstract void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x);
        internal abstract void BackwardBias(Tensor gradBias, Tensor gradY);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, Tensor weight, Tensor? bias)
    {
        Device device = Check.SameDevice("linear", weight, bias);
        Check.That(x.Device == device, $"linear: its inputs are on different devices, {x.Device} and {device}. Move one with To(device).");
        Check.That(x.Type.IsFloat(), $"linear: x holds {x.Type}, expected Float32 or BFloat16.");
        Check.Rank("linear", x, 2);
        Check.Rank("linear", weight, 2);
        Check.That(x.Shape[1] == weight.Shape[1],
            $"linear: x has shape {x.Shape} and weight [out,in] {weight.Shape}; their second sizes must be equal.");
        if (bias is not null) Check.Shape("linear", bias, new(weight.Shape[0]));
        Precision precision = Autocast.Of("linear", x);
        using Tensor xFactor = Autocast.Factor(x, precision), weightFactor = Autocast.Factor(weight, precision);
        Tensor y = Tensor.Empty(new(x.Shape[0], weight.Shape[0]), device, Autocast.ResultType(device, precision));
        On(device).Forward(y, xFactor, weightFactor, bias);
        return Tape.Record("linear", y, [x, weight, bias], saved: [xFactor, weightFactor], (in b) =>
        {
            Kernels kernels = On(b.GradOutput.Device);
            using Tensor gradY = Autocast.Factor(b.GradOutput, precision);
            if (b.Needs(0)) kernels.BackwardX(b.NewGrad(0), gradY, weight: b.Saved(1));
            if (b.Needs(1)) kernels.BackwardWeight(b.NewGrad(1), gradY, x: b.Saved(0));
            if (b.Needs(2)) kernels.BackwardBias(b.NewGrad(2), b.GradOutput);
        });
    }
}
