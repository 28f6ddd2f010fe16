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
/// keeps its digits. For τ ≥ <see cref="ContrastOp.FixedShiftTemperature"/> the shift is 1 for every row: then E is symmetric and
/// one exponential serves both rows of a pair; below, m_i is the row's own greatest similarity.
/// Saves the normalised rows and four numbers per row, never anything of size rows × rows.
/// </summary>
internal static partial class NtXentOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor embeddings, float temperature, Tensor? temperatureTensor, PairLayout layout,
        Reduction reduction, bool normalize, Precision precision, Tensor? labels)
    {
        int dim = ContrastOp.Dim(LossKind.NtXent, embeddings);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.NtXent, embeddings, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.NtXent, embeddings.Shape[0], 0, dim, temperature) { Layout = layout, Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(embeddings.Device), call, embeddings, labels: labels, temperature: temperatureTensor);
    }
}
