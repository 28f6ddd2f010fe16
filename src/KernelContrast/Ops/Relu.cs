namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y = max(x, 0). Any shape. NaN stays NaN.</summary>
    public static Tensor Relu(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ReluOp.Apply(x);
    }
}

/// <summary>
/// Forward: y = max(x, 0). Backward: grad_x = grad_y · [y &gt; 0] (0 at x = 0, as in PyTorch). Saves y.
/// </summary>
internal static partial class ReluOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor y);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        Device device = Check.SameDeviceAndType("relu", x);
        Tensor y = Tensor.Empty(x.Shape, device, x.Type);
        On(device).Forward(y, x);
        return Tape.Record("relu", y, [x], saved: [y], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, y: b.Saved(0)));
    }
}
