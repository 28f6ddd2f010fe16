namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// y = x·weightᵀ + bias: <paramref name="x"/> [N,in], <paramref name="weight"/> [out,in], <paramref name="bias"/>
    /// [out] or none, result [N,out]. With <paramref name="relu"/>, max(y, 0), without a pass of its own.
    /// </summary>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias = null, bool relu = false)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        return LinearOp.Apply(x, weight, bias, relu);
    }
}

/// <summary>
/// Forward: Z = X·Wᵀ + 1·bᵀ; Y = Z, or max(Z, 0). Backward: grad_Z = grad_Y, or grad_Y · [Y &gt; 0]; grad_X = grad_Z·W,
/// grad_W = grad_Zᵀ·X, grad_b = grad_Zᵀ·1. Saves x and weight, as rounded by <see cref="Autocast"/>, and with ReLU y.
/// </summary>
internal static partial class LinearOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, bool relu, Precision precision);
        internal abstract void BackwardX(Tensor gradX, Tensor gradY, Tensor weight, Precision precision);
        internal abstract void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Precision precision);
        internal abstract void BackwardBias(Tensor gradBias, Tensor gradY);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, Tensor weight, Tensor? bias, bool relu = false)
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
        On(device).Forward(y, xFactor, weightFactor, bias, relu, precision);
        return Tape.Record("linear", y, [x, weight, bias], saved: relu ? [xFactor, weightFactor, y] : [xFactor, weightFactor], (in b) =>
        {
            Device on = b.GradOutput.Device;
            Kernels kernels = On(on);
            using Tensor? passed = relu ? Tensor.Empty(b.GradOutput.Shape, on, b.GradOutput.Type) : null;
            if (passed is not null) ReluOp.On(on).Backward(passed, b.GradOutput, y: b.Saved(2));
            Tensor gradZ = passed ?? b.GradOutput;
            using Tensor factor = Autocast.Factor(gradZ, precision);
            if (b.Needs(0)) kernels.BackwardX(b.NewGrad(0), factor, weight: b.Saved(1), precision);
            if (b.Needs(1)) kernels.BackwardWeight(b.NewGrad(1), factor, x: b.Saved(0), precision);
            if (b.Needs(2)) kernels.BackwardBias(b.NewGrad(2), gradZ);
        });
    }
}
