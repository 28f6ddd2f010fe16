using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// Supervised contrastive loss over rows h_i of [rows, dim] with labels y (Khosla et al. 2020, equation 2, L_out; without
/// the factor τ/τ_base of their code). With <see cref="ContrastOp"/>'s names and P_i the other rows of label y_i:
/// <code>
/// l_i    = log Σ_{j ≠ i} E_ij − 1/|P_i| Σ_{p in P_i} (s_ip − m_i)/τ      0 where P_i is empty
/// w_ij   = E_ij (u_i r_i + u_j r_j) − [y_i = y_j] (u_i/|P_i| + u_j/|P_j|)
/// </code>
/// </summary>
internal static partial class SupConOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor embeddings, Tensor labels, float temperature, Tensor? temperatureTensor,
        Reduction reduction, bool normalize, Precision precision)
    {
        int dim = ContrastOp.Dim(LossKind.SupCon, embeddings);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.SupCon, embeddings, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.SupCon, embeddings.Shape[0], 0, dim, temperature) { Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(embeddings.Device), call, embeddings, labels: labels, temperature: temperatureTensor);
    }
}
