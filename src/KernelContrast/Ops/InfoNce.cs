using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// InfoNCE of queries h_i of [rows, dim] against keys of [columns, dim] (van den Oord et al. 2018, equation 4), key i the
/// positive of query i and every other key a negative. With <see cref="ContrastOp"/>'s names and k_j the normalised keys:
/// <code>
/// l_i    = log(1 + N_i/E_ii),  N_i = Σ_{j ≠ i} E_ij
/// w_ij   = u_i E_ij r_i                   j ≠ i
/// w_ii   = −u_i share_i
/// </code>
/// Gradients: 1/τ Σ_j w_ij k_j to query i, 1/τ Σ_i w_ij z_i to key j, both through their norms.
/// </summary>
internal static partial class InfoNceOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor queries, Tensor keys, float temperature, Tensor? temperatureTensor,
        Reduction reduction, bool normalize, Precision precision, Tensor? labels, bool scaleBy2Tau)
    {
        int dim = ContrastOp.Dim(LossKind.InfoNce, queries, keys);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.InfoNce, queries, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.InfoNce, queries.Shape[0], keys.Shape[0], dim, temperature) { Reduction = reduction, Normalize = normalize, Precision = precision };
        Tensor loss = ContrastOp.Record(On(queries.Device), call, queries, keys, labels: labels, temperature: temperatureTensor);
        if (!scaleBy2Tau) return loss;
        using Tensor unscaled = loss;
        if (temperatureTensor is null) return Functional.Scale(unscaled, 2 * temperature);
        using Tensor factor = Functional.Scale(temperatureTensor, 2);
        return Functional.Mul(unscaled, factor);
    }
}
