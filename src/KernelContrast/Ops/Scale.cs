namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y = factor · x. Any shape.</summary>
    public static Tensor Scale(Tensor x, float factor)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ScaleOp.Apply(x, factor);
    }
}

/// <summary>Forward: y = factor · x. Backward: grad_x = factor · grad_y. Saves nothing.</summary>
internal static partial class ScaleOp
{
    internal abstract class Kernels
    {
        internal abstract void Scale(Tensor y, Tensor x, float factor);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, float factor)
    {
        Device device = Check.SameDevice("scale", x);
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Scale(y, x, factor);
        return Tape.Record("scale", y, [x], saved: [], (in b) =>
            On(b.GradOutput.Device).Scale(b.NewGrad(0), b.GradOutput, factor));
    }
}
