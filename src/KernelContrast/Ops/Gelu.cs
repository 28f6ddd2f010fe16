namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// y = x · Φ(x), with Φ the normal distribution function by the error function: the exact form, not the tanh
    /// approximation. Any shape.
    /// </summary>
    /// <remarks>Hendrycks, Gimpel: "Gaussian error linear units", 2016.</remarks>
    public static Tensor Gelu(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return GeluOp.Apply(x);
    }
}

/// <summary>
/// Forward: y = x·Φ(x). Backward: grad_x = grad_y · (Φ(x) + x·φ(x)), φ(x) = e^(−x²/2)/√(2π). Saves x.
/// </summary>
internal static partial class GeluOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor x);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        Device device = Check.SameDevice("gelu", x);
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Forward(y, x);
        return Tape.Record("gelu", y, [x], saved: [x], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, x: b.Saved(0)));
    }
}
