using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// MoCo's loss of queries h_i of [rows, dim], each against its key of [rows, dim] and a queue of negatives
/// [columns, dim] (He et al. 2020, equation 1). Only the queries get a gradient: keys and queue come from the momentum
/// encoder. With <see cref="ContrastOp"/>'s names, k_i the key and n_j the rows of the queue, normalised:
/// <code>
/// l_i    = log(1 + N_i/E_i+),  E_i+ = exp((z_i·k_i − m_i)/τ),  N_i = Σ_j exp((z_i·n_j − m_i)/τ)
/// g_i    = u_i/τ [ Σ_j E_ij r_i n_j − share_i k_i ]
/// </code>
/// </summary>
internal static partial class MocoOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor queries, Tensor keys, Tensor queue, float temperature,
        Tensor? temperatureTensor, Reduction reduction, bool normalize, Precision precision, Tensor? labels)
    {
        int dim = ContrastOp.Dim(LossKind.Moco, queries, queue, keys);
        if (keys.Shape != queries.Shape)
            throw new ArgumentException($"moco: queries have shape {queries.Shape} and keys {keys.Shape}, expected one key per query.");
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.Moco, queries, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.Moco, queries.Shape[0], queue.Shape[0], dim, temperature) { Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(queries.Device), call, queries, queue, keys, labels, temperatureTensor);
    }
}
