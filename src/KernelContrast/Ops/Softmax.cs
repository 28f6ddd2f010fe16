namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y[n, :] = exp(x[n, :] / temperature) / Σ exp(x[n, :] / temperature), row by row, without overflow.</summary>
    /// <param name="x">[N, D], D ≥ 1. A row with NaN or +∞, or of −∞ alone, gives a row of NaN.</param>
    /// <param name="temperature">Above 0.</param>
    /// <returns>[N, D].</returns>
    /// <exception cref="ArgumentException">The rank is not 2, the rows are empty, or the temperature is not above 0.</exception>
    public static Tensor Softmax(Tensor x, float temperature = 1)
    {
        ArgumentNullException.ThrowIfNull(x);
        return SoftmaxOp.Apply(x, temperature);
    }
}

/// <summary>
/// Forward: y = softmax(x / τ) per row. Backward: grad_x = y ⊙ (grad_y − Σ_d grad_y·y) / τ. Saves y.
/// </summary>
internal static partial class SoftmaxOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, float inverseTemperature);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor y, float inverseTemperature);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, float temperature)
    {
        const string Op = "softmax";
        Device device = Check.SameDevice(Op, x);
        Check.Rank(Op, x, 2);
        Check.That(x.Shape[1] > 0, $"{Op}: x has shape {x.Shape}, expected rows of at least one element.");
        Check.That(temperature > 0 && float.IsFinite(temperature), $"{Op}: temperature is {temperature}, expected a number above 0.");
        float inverse = 1 / temperature;
        Tensor y = Tensor.Empty(x.Shape, device);
        On(device).Forward(y, x, inverse);
        return Tape.Record(Op, y, [x], saved: [y], (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, y: b.Saved(0), inverse));
    }
}
