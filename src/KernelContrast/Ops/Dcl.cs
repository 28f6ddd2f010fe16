using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// Decoupled contrastive loss over rows h_i of [rows, dim] (Yeh et al. 2022, equation 6, with one logarithm over both
/// views' negatives): NT-Xent whose denominator leaves the partner out. With <see cref="ContrastOp"/>'s names:
/// <code>
/// N_i    = Σ_{j ≠ i, p} E_ij
/// l_i    = log N_i − (s_ip − m_i)/τ
/// w_ij   = E_ij (u_i/N_i + u_j/N_j)       j ≠ i, p
/// w_ip   = −(u_i + u_p)
/// </code>
/// </summary>
internal static partial class DclOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor embeddings, float temperature, Tensor? temperatureTensor, PairLayout layout,
        Reduction reduction, bool normalize, Precision precision, Tensor? labels)
    {
        int dim = ContrastOp.Dim(LossKind.Dcl, embeddings);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.Dcl, embeddings, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.Dcl, embeddings.Shape[0], 0, dim, temperature) { Layout = layout, Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(embeddings.Device), call, embeddings, labels: labels, temperature: temperatureTensor);
    }
}
