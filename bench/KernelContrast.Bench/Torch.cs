using TorchSharp;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench;

/// <summary>The peer's side: small helpers around TorchSharp.</summary>
internal static class Torch
{
    /// <summary>A row-major copy.</summary>
    internal static TorchTensor From(float[] values, params long[] shape) => torch.tensor(values, shape);

    /// <summary>A leaf that wants a gradient, sharing memory with <paramref name="x"/>.</summary>
    internal static TorchTensor Leaf(TorchTensor x) => x.detach().requires_grad_(true);

    internal static float[] ToArray(TorchTensor x)
    {
        using TorchTensor dense = x.detach().contiguous().cpu();
        return dense.data<float>().ToArray();
    }

    internal static double[] ToDoubles(TorchTensor x)
    {
        using TorchTensor dense = x.detach().to(torch.ScalarType.Float64).contiguous();
        return dense.data<double>().ToArray();
    }
}
