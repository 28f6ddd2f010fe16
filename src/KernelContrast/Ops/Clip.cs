using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// CLIP's loss of images h_i of [rows, dim] and texts of the same shape (Radford et al. 2021, figure 3): the mean of
/// InfoNCE of images against texts and of texts against images, both from one pass over the similarities. With
/// <see cref="ContrastOp"/>'s names, accents for sums over a column:
/// <code>
/// l_i    = ½ log(1 + N_i/E_ii) + ½ log(1 + N'_i/E'_ii)
/// w_ij   = ½ (u_i E_ij r_i + u_j E'_ij c_j)        j ≠ i
/// w_ii   = −½ u_i (share_i + share'_i)
/// </code>
/// </summary>
internal static partial class ClipOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor images, Tensor texts, float temperature, Tensor? temperatureTensor,
        Reduction reduction, bool normalize, Precision precision, Tensor? labels)
    {
        int dim = ContrastOp.Dim(LossKind.Clip, images, texts);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.Clip, images, temperatureTensor, "temperature");
        var call = new LossCall(LossKind.Clip, images.Shape[0], texts.Shape[0], dim, temperature) { Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(images.Device), call, images, texts, labels: labels, temperature: temperatureTensor);
    }
}
