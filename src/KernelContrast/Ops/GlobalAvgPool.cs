namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The mean over each channel's pixels: [N, C, H, W] to [N, C].</summary>
    public static Tensor GlobalAvgPool(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return GlobalAvgPoolOp.Apply(x);
    }
}

/// <summary>
/// Forward: y[n, c] = Σ_{h,w} x[n, c, h, w] / (H·W). Backward: grad_x[n, c, h, w] = grad_y[n, c] / (H·W). Saves nothing.
/// </summary>
internal static partial class GlobalAvgPoolOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x);
        internal abstract void Backward(Tensor gradX, Tensor gradY);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        const string Op = "global-avg-pool";
        Device device = Check.SameDeviceAndType(Op, x);
        Check.Rank(Op, x, 4);
        Check.That(x.Shape[2] * x.Shape[3] > 0, $"{Op}: x has shape {x.Shape}, expected at least one pixel.");
        Tensor y = Tensor.Empty(new(x.Shape[0], x.Shape[1]), device, x.Type);
        On(device).Forward(y, x);
        return Tape.Record(Op, y, [x], saved: [], static (in b) => On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput));
    }
}
