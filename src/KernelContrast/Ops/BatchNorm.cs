namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// Batch normalisation over every axis but the channels: y = γ·(x − μ)/√(σ² + ε) + β, then + residual, then
    /// max(·, 0), where asked for (Ioffe and Szegedy 2015, algorithm 1).
    /// </summary>
    /// <param name="x">[N, C] or [N, C, H, W].</param>
    /// <param name="gamma">Scale [C], or null for 1.</param>
    /// <param name="beta">Shift [C], or null for 0.</param>
    /// <param name="runningMean">[C]. Training: moves toward the batch's mean. Otherwise it is the mean.</param>
    /// <param name="runningVariance">[C], likewise; moves toward the batch's unbiased variance, as in PyTorch.</param>
    /// <param name="training">Whether the batch's own statistics are used (and the running ones updated in place).</param>
    /// <param name="momentum">Share of the batch in the new running statistics.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="relu">Whether ReLU follows.</param>
    /// <param name="residual">Added before the ReLU, same shape as x; or null.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or training with one value per channel.</exception>
    public static Tensor BatchNorm(Tensor x, Tensor? gamma, Tensor? beta, Tensor runningMean, Tensor runningVariance, bool training,
        float momentum = 0.1f, float epsilon = 1e-5f, bool relu = false, Tensor? residual = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(runningMean);
        ArgumentNullException.ThrowIfNull(runningVariance);
        return BatchNormOp.Apply(x, gamma, beta, runningMean, runningVariance, training, momentum, epsilon, relu, residual);
    }
}

/// <summary>
/// Forward: x̂ = (x − μ)·r with r = 1/√(σ² + ε); y = relu?(γ·x̂ + β + residual). Backward, with g = grad_y, zero where a
/// fused ReLU gave y = 0, and M values per channel: grad_residual = g; grad_γ = Σ g·x̂; grad_β = Σ g; training:
/// grad_x = γ·r·(g − Σg/M − x̂·Σ(g·x̂)/M), otherwise grad_x = γ·r·g. Saves x, μ, r, γ and,
/// with ReLU, β or, when there is a residual, y.
/// </summary>
internal static partial class BatchNormOp
{
    internal abstract class Kernels
    {
        /// <summary>mean: [2, C], μ's float and what that rounding left; inverseDeviation: 1/√(σ² + ε) of the batch, and the running statistics moved toward them.</summary>
        internal abstract void Statistics(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, Tensor x, float momentum, float epsilon);

        /// <summary>The same from the running statistics.</summary>
        internal abstract void FromRunning(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, float epsilon);

        internal abstract void Normalize(Tensor y, Tensor x, Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, Tensor? residual, bool relu);

        /// <summary>
        /// Fills the gradients that are not null. With a fused ReLU, y tells where it let through; when y is null, it is
        /// computed again from x, which is possible without a residual.
        /// </summary>
        internal abstract void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor? gradResidual, Tensor gradY, Tensor x, Tensor? y,
            Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, bool relu, bool training);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, Tensor? gamma, Tensor? beta, Tensor runningMean, Tensor runningVariance, bool training,
        float momentum, float epsilon, bool relu, Tensor? residual)
    {
        const string Op = "batch-norm";
        Device device = Check.SameDeviceAndType(Op, x, residual);
        Check.That(Check.SameDevice(Op, runningMean, runningVariance, gamma, beta) == device,
            $"{Op}: x is on {device}, its statistics on {runningMean.Device}. Move one with To(device).");
        Check.That(x.Shape.Rank is 2 or 4, $"{Op}: x has shape {x.Shape}, expected [N, C] or [N, C, H, W].");
        var channels = new Shape(x.Shape[1]);
        Check.Shape(Op, runningMean, channels);
        Check.Shape(Op, runningVariance, channels);
        if (gamma is not null) Check.Shape(Op, gamma, channels);
        if (beta is not null) Check.Shape(Op, beta, channels);
        if (residual is not null) Check.Shape(Op, residual, x.Shape);
        Check.That(x.Count > 0, $"{Op}: x has shape {x.Shape}, expected at least one value.");
        Check.That(!training || x.Count / x.Shape[1] > 1, $"{Op}: x has shape {x.Shape}: one value per channel has no variance. Use a larger batch, or evaluation mode.");

        Kernels kernels = On(device);
        using Tensor mean = Tensor.Empty(new(2, x.Shape[1]), device), inverseDeviation = Tensor.Empty(channels, device);
        if (training) kernels.Statistics(mean, inverseDeviation, runningMean, runningVariance, x, momentum, epsilon);
        else kernels.FromRunning(mean, inverseDeviation, runningMean, runningVariance, epsilon);
        Tensor y = Tensor.Empty(x.Shape, device, x.Type);
        kernels.Normalize(y, x, mean, inverseDeviation, gamma, beta, residual, relu);

        List<Tensor> saved = [x, mean, inverseDeviation];
        int gammaAt = Save(gamma), betaAt = Save(relu && residual is null ? beta : null), yAt = Save(relu && residual is not null ? y : null);
        return Tape.Record(Op, y, [x, gamma, beta, residual], [.. saved], (in b) =>
        {
            // without a ReLU the residual's gradient is the output's
            if (!relu && b.Needs(3)) b.SetGrad(3, b.GradOutput.Detach());
            On(b.GradOutput.Device).Backward(Wanted(b, 0), Wanted(b, 1), Wanted(b, 2), relu ? Wanted(b, 3) : null, b.GradOutput, x: b.Saved(0),
                y: Get(b, yAt), mean: b.Saved(1), inverseDeviation: b.Saved(2), gamma: Get(b, gammaAt), beta: Get(b, betaAt), relu, training);
        });

        int Save(Tensor? tensor)
        {
            if (tensor is null) return -1;
            saved.Add(tensor);
            return saved.Count - 1;
        }

        static Tensor? Get(in BackwardContext b, int saved) => saved < 0 ? null : b.Saved(saved);

        static Tensor? Wanted(in BackwardContext b, int input) => b.Needs(input) ? b.NewGrad(input) : null;
    }
}
