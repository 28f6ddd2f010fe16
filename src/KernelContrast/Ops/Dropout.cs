namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// Sets each element to zero with probability <paramref name="p"/> and divides the others by 1 − p. In evaluation,
    /// do not call it.
    /// </summary>
    /// <param name="x">Any shape.</param>
    /// <param name="p">In [0, 1).</param>
    /// <param name="seed">Of the run.</param>
    /// <param name="stream">A number of its own for every call: element i, in storage order, is kept when number i of
    /// <see cref="PhiloxStream"/>(seed, stream) is at least p. So the result is the same for any number of threads.</param>
    /// <exception cref="ArgumentException">p is outside of [0, 1).</exception>
    /// <remarks>Srivastava et al.: "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.</remarks>
    public static Tensor Dropout(Tensor x, float p, ulong seed, ulong stream)
    {
        ArgumentNullException.ThrowIfNull(x);
        return DropoutOp.Apply(x, p, seed, stream);
    }
}

/// <summary>
/// Forward: y = x·mask/(1 − p). Backward: grad_x = grad_y·mask/(1 − p), the mask drawn again. Saves nothing.
/// </summary>
internal static partial class DropoutOp
{
    internal abstract class Kernels
    {
        internal abstract void Mask(Tensor y, Tensor x, float p, ulong seed, ulong stream);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, float p, ulong seed, ulong stream)
    {
        const string Op = "dropout";
        Device device = Check.SameDevice(Op, x);
        Check.That(p >= 0 && p < 1, $"{Op}: p is {p}, expected a probability in [0, 1).");
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Mask(y, x, p, seed, stream);
        return Tape.Record(Op, y, [x], saved: [], (in b) =>
            On(b.GradOutput.Device).Mask(b.NewGrad(0), b.GradOutput, p, seed, stream));
    }
}
