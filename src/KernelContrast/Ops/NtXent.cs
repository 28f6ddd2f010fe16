using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// NT-Xent over rows h_i of [rows, dim]. With z_i = h_i/‖h_i‖ (the norm taken after scaling by max|h_i|; 0 for an
/// all-zero row), s_ij = z_i·z_j, p the partner of i and any shift m_i:
/// <code>
/// E_ij   = exp((s_ij − m_i)/τ)                       j ≠ i
/// N_i    = Σ_{j ≠ i, p} E_ij                          the negatives
/// loss   = mean_i log(1 + N_i/E_ip)
/// </code>
/// Backward, with inverseSum_i = 1/(E_ip + N_i), P_ij = E_ij · inverseSum_i and negativeShare_i = N_i · inverseSum_i
/// = 1 − P_ip:
/// <code>
/// g_i    = gradLoss/(rows·τ) · [ Σ_{j ≠ i, p} (P_ij + P_ji) z_j − (negativeShare_i + negativeShare_p) z_p ]
/// grad_i = (g_i − z_i (z_i·g_i)) / ‖h_i‖
/// </code>
/// The pair's weight P_ip + P_pi − 2 is written through the negatives, so that a pair that has converged (P ≈ 1)
/// keeps its digits. For τ ≥ <see cref="FixedShiftTemperature"/> the shift is 1 for every row: then E is symmetric and
/// one exponential serves both rows of a pair; below, m_i is the row's own greatest similarity.
/// Saves the normalised rows and four numbers per row, never anything of size rows × rows.
/// </summary>
internal static partial class NtXentOp
{
    /// <summary>
    /// From here on exp((s − 1)/τ) with s in [−1, 1] stays a normal float32: exp(−2/0.023) = 1.7e-38.
    /// </summary>
    internal const float FixedShiftTemperature = 0.023f;

    internal abstract class Kernels
    {
        /// <summary>Shape of the saved normalised rows, whose order is the device's own affair.</summary>
        internal virtual Shape NormalizedShape(int rows, int dim) => new(rows, dim);

        /// <summary>
        /// Fills loss [], the mean over rows, summed in double; normalized, z in the order of <see cref="NormalizedShape"/>;
        /// inverseNorm [rows], 1/‖h‖ but at most <see cref="float.MaxValue"/>, 0 for an all-zero row; shift [rows], m;
        /// inverseSum [rows]; negativeShare [rows]. Reads embeddings [rows, dim].
        /// </summary>
        internal abstract void Forward(Tensor loss, Tensor normalized, Tensor inverseNorm, Tensor shift, Tensor inverseSum,
            Tensor negativeShare, Tensor embeddings, float temperature, PairLayout layout);

        /// <summary>
        /// Overwrites gradEmbeddings [rows, dim]. gradLoss [] stays on the device: a host that read it would wait.
        /// </summary>
        internal abstract void Backward(Tensor gradEmbeddings, Tensor gradLoss, Tensor normalized, Tensor inverseNorm,
            Tensor shift, Tensor inverseSum, Tensor negativeShare, float temperature, PairLayout layout);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor embeddings, float temperature, PairLayout layout)
    {
        Device device = Check.SameDevice("nt-xent", embeddings);
        Check.Rank("nt-xent", embeddings, 2);
        int rows = embeddings.Shape[0], dim = embeddings.Shape[1];
        CheckArguments(rows, dim, temperature);

        Kernels kernels = On(device);
        Tensor loss = Tensor.Empty(new(), device);
        using Tensor normalized = Tensor.Empty(kernels.NormalizedShape(rows, dim), device);
        using Tensor inverseNorm = Tensor.Empty(new(rows), device);
        using Tensor shift = Tensor.Empty(new(rows), device);
        using Tensor inverseSum = Tensor.Empty(new(rows), device);
        using Tensor negativeShare = Tensor.Empty(new(rows), device);
        kernels.Forward(loss, normalized, inverseNorm, shift, inverseSum, negativeShare, embeddings, temperature, layout);
        return Tape.Record("nt-xent", loss, [embeddings], saved: [normalized, inverseNorm, shift, inverseSum, negativeShare],
            (in b) => On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, normalized: b.Saved(0),
                inverseNorm: b.Saved(1), shift: b.Saved(2), inverseSum: b.Saved(3), negativeShare: b.Saved(4), temperature, layout));
    }

    internal static void CheckArguments(int rows, int dim, float temperature)
    {
        if (rows < 2 || rows % 2 != 0 || dim < 1)
            throw new ArgumentException($"nt-xent: embeddings have shape [{rows}, {dim}], expected an even number of rows, two per pair, and at least one column.");
        if (!(temperature > 0 && float.IsFinite(temperature)))
            throw new ArgumentException($"nt-xent: the temperature is {temperature}, expected a positive finite number.");
    }

    /// <summary>The partner of a row.</summary>
    internal static int Partner(int row, int rows, PairLayout layout) =>
        layout == PairLayout.Interleaved ? row ^ 1 : row < rows / 2 ? row + rows / 2 : row - rows / 2;
}
