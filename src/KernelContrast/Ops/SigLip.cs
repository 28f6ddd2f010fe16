using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// SigLIP's loss of images h_i of [rows, dim] and texts of [columns, dim] (Zhai et al. 2023, algorithm 1): every pair is
/// classified by itself, text i with image i as belonging together. With x_ij = s_ij/τ + b:
/// <code>
/// l_i    = log(1 + exp(−x_ii)) + Σ_{j ≠ i} log(1 + exp(x_ij))
/// w_ij   = u_i σ(x_ij)                    j ≠ i
/// w_ii   = −u_i σ(−x_ii)
/// </code>
/// </summary>
internal static partial class SigLipOp
{
    internal static ContrastKernels On(Device device) => device.Pick<ContrastKernels, ContrastCpu, Cuda>();

    internal static Tensor Apply(Tensor images, Tensor texts, float temperature, Tensor? temperatureTensor,
        float bias, Tensor? biasTensor, Reduction reduction, bool normalize, Precision precision, Tensor? labels)
    {
        int dim = ContrastOp.Dim(LossKind.SigLip, images, texts);
        if (temperatureTensor is not null) ContrastOp.CheckScalar(LossKind.SigLip, images, temperatureTensor, "temperature");
        if (biasTensor is not null) ContrastOp.CheckScalar(LossKind.SigLip, images, biasTensor, "bias");
        var call = new LossCall(LossKind.SigLip, images.Shape[0], texts.Shape[0], dim, temperature) { Bias = bias, Reduction = reduction, Normalize = normalize, Precision = precision };
        return ContrastOp.Record(On(images.Device), call, images, texts, labels: labels, temperature: temperatureTensor, bias: biasTensor);
    }
}
