namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y = e^x. Any shape.</summary>
    public static Tensor Exp(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ExpOp.Apply(x);
    }
}

/// <summary>Forward: y = e^x. Backward: grad_x = grad_y · y. Saves y.</summary>
internal static partial class ExpOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        Device device = Check.SameDevice("exp", x);
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Forward(y, x);
        return Tape.Record("exp", y, [x], saved: [y], static (in b) =>
            ElementwiseOp.On(b.GradOutput.Device).Combine(b.NewGrad(0), b.GradOutput, b.Saved(0), ElementwiseOp.Kind.Multiply));
    }
}
