namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// y[n, d] = (x[n, d] − mean_n) / √(variance_n + ε) · gamma[d] + beta[d], with the mean and the (biased) variance of
    /// row n.
    /// </summary>
    /// <param name="x">[N, D], D ≥ 1.</param>
    /// <param name="gamma">[D], or null for 1.</param>
    /// <param name="beta">[D], or null for 0.</param>
    /// <param name="epsilon">Added to the variance; 0 or more.</param>
    /// <returns>[N, D].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, rows are empty, or epsilon is negative.</exception>
    /// <remarks>Ba, Kiros, Hinton: "Layer normalization", 2016.</remarks>
    public static Tensor LayerNorm(Tensor x, Tensor? gamma, Tensor? beta, float epsilon = 1e-5f)
    {
        ArgumentNullException.ThrowIfNull(x);
        return LayerNormOp.Apply(x, gamma, beta, epsilon);
    }
}

/// <summary>
/// Forward: x̂ = (x − μ)·r with r = 1/√(σ² + ε), y = x̂·γ + β. Backward, with h = grad_y·γ:
/// grad_x = r·(h − mean_d(h) − x̂·mean_d(h·x̂)), grad_γ = Σ_n grad_y·x̂, grad_β = Σ_n grad_y. Saves x, γ, μ and r.
/// </summary>
internal static partial class LayerNormOp
{
    internal abstract class Kernels
    {
        /// <param name="y">[N, D]</param>
        /// <param name="statistics">[2, N]: μ, then r.</param>
        /// <param name="x">[N, D]</param>
        /// <param name="gamma">[D] or null</param>
        /// <param name="beta">[D] or null</param>
        /// <param name="epsilon">ε</param>
        internal abstract void Forward(Tensor y, Tensor statistics, Tensor x, Tensor? gamma, Tensor? beta, float epsilon);

        /// <summary>Fills the gradients that are not null.</summary>
        internal abstract void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor gradY, Tensor x, Tensor? gamma, Tensor statistics);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, Tensor? gamma, Tensor? beta, float epsilon)
    {
        const string Op = "layer-norm";
        Device device = Check.SameDevice(Op, x, gamma, beta);
        Check.Rank(Op, x, 2);
        Check.That(x.Shape[1] > 0, $"{Op}: x has shape {x.Shape}, expected rows of at least one element.");
        Check.That(epsilon >= 0, $"{Op}: epsilon is {epsilon}, expected 0 or more.");
        if (gamma is not null) Check.Shape(Op, gamma, new(x.Shape[1]));
        if (beta is not null) Check.Shape(Op, beta, new(x.Shape[1]));
        Tensor y = Tensor.Empty(x.Shape, device);
        using Tensor statistics = Tensor.Empty(new(2, x.Shape[0]), device);
        On(device).Forward(y, statistics, x, gamma, beta, epsilon);
        bool scaled = gamma is not null;
        return Tape.Record(Op, y, [x, gamma, beta], saved: scaled ? [x, statistics, gamma!] : [x, statistics], (in b) =>
            On(b.GradOutput.Device).Backward(b.Needs(0) ? b.NewGrad(0) : null, b.Needs(1) ? b.NewGrad(1) : null, b.Needs(2) ? b.NewGrad(2) : null,
                b.GradOutput, x: b.Saved(0), gamma: scaled ? b.Saved(2) : null, statistics: b.Saved(1)));
    }
}
