namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The sum of all elements, as a scalar; 0 of none. Gathered in double precision.</summary>
    public static Tensor Sum(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return SumOp.Apply("sum", x, 1);
    }

    /// <summary>The mean of all elements, as a scalar. Gathered in double precision.</summary>
    /// <exception cref="ArgumentException">There are no elements.</exception>
    public static Tensor Mean(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        Check.That(x.Count > 0, $"mean: x has shape {x.Shape}; the mean of no elements is undefined.");
        return SumOp.Apply("mean", x, 1.0 / x.Count);
    }
}

/// <summary>Forward: y = factor · Σ x. Backward: grad_x = factor · grad_y everywhere. Saves nothing.</summary>
internal static partial class SumOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, double factor);
        internal abstract void Backward(Tensor gradX, Tensor gradY, double factor);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(string op, Tensor x, double factor)
    {
        Device device = Check.SameDevice(op, x);
        Tensor y = Tensor.Empty(new(), device);
        On(device).Forward(y, x, factor);
        return Tape.Record(op, y, [x], saved: [], (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, factor));
    }
}
