namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// Scales every row to Euclidean length 1. The norm is taken after scaling by the row's largest magnitude, so that
    /// only a row of zeros has none: it stays zero and gets gradient zero.
    /// </summary>
    /// <param name="x">[N, D]. A row with NaN or an infinity gives a row of NaN.</param>
    /// <returns>[N, D].</returns>
    /// <exception cref="ArgumentException">The rank is not 2.</exception>
    public static Tensor L2Normalize(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return L2NormalizeOp.Apply(x);
    }
}

/// <summary>
/// Forward: m = max_d |x_d|, r = 1/√(Σ (x_d/m)²), z = (x/m)·r; z = 0 where m = 0.
/// Backward: grad_x = (grad_z − z (z·grad_z)) · r / m; 0 where m = 0. Saves z, m and r.
/// </summary>
internal static partial class L2NormalizeOp
{
    internal abstract class Kernels
    {
        /// <param name="z">[N, D]</param>
        /// <param name="scales">[2, N]: m, then r.</param>
        /// <param name="x">[N, D]</param>
        internal abstract void Forward(Tensor z, Tensor scales, Tensor x);
        internal abstract void Backward(Tensor gradX, Tensor gradZ, Tensor z, Tensor scales);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        const string Op = "l2-normalize";
        Device device = Check.SameDevice(Op, x);
        Check.Rank(Op, x, 2);
        Tensor z = Tensor.Empty(x.Shape, device);
        using Tensor scales = Tensor.Empty(new(2, x.Shape[0]), device);
        On(device).Forward(z, scales, x);
        return Tape.Record(Op, z, [x], saved: [z, scales], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, z: b.Saved(0), scales: b.Saved(1)));
    }
}
