namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y = min(max(x, low), high). Any shape. The gradient passes where low ≤ x ≤ high, both bounds included, as in PyTorch.</summary>
    /// <param name="x">Any shape.</param>
    /// <param name="low">−∞: no bound.</param>
    /// <param name="high">∞: no bound.</param>
    /// <exception cref="ArgumentException">low is above high, or one of them is NaN.</exception>
    public static Tensor Clamp(Tensor x, float low, float high)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ClampOp.Apply(x, low, high);
    }
}

/// <summary>
/// Forward: y = min(max(x, low), high); NaN stays. Backward: grad_x = grad_y, but 0 where x is below low or above high.
/// Saves x.
/// </summary>
internal static partial class ClampOp
{
    internal abstract class Kernels
    {
        /// <summary>y may be x itself.</summary>
        internal abstract void Forward(Tensor y, Tensor x, float low, float high);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor x, float low, float high);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, float low, float high)
    {
        Device device = Check.SameDevice("clamp", x);
        if (!(low <= high)) throw new ArgumentException($"clamp: the bounds are {low} and {high}, expected two numbers of which the first is not above the second.");
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Forward(y, x, low, high);
        return Tape.Record("clamp", y, [x], saved: [x], (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, x: b.Saved(0), low, high));
    }
}
