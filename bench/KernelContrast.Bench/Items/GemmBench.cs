using TorchSharp;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

internal static class GemmBench
{
    internal static IEnumerable<PairedBench> All()
    {
        foreach (int size in new[] { 1024, 2048 })
            yield return new PairedBench("gemm", $"GEMM {size}³",
                new Dictionary<string, double> { ["default"] = 1.20, ["tuned"] = 1.20, ["default avx2"] = 1.25, ["tuned avx2"] = 1.25 },
                () => Create(size))
            {
                Narrow = true,
            };
    }

    private static PairedItem Create(int size)
    {
        Tensor a = Tensor.RandomNormal(new(size, size), 1), b = Tensor.RandomNormal(new(size, size), 2);
        TorchTensor ta = Torch.From(a.ToArray(), size, size), tb = Torch.From(b.ToArray(), size, size);
        return new PairedItem
        {
            Ours = () => Functional.MatMul(a, b).Dispose(),
            Theirs = () => torch.mm(ta, tb).Dispose(),
            Flops = 2.0 * size * size * size,
            Errors = () =>
            {
                using TorchTensor exact = ta.to(torch.ScalarType.Float64).mm(tb.to(torch.ScalarType.Float64));
                using Tensor ours = Functional.MatMul(a, b);
                using TorchTensor theirs = torch.mm(ta, tb);
                double[] expected = Torch.ToDoubles(exact);
                return (Errors.Relative(ours.ToArray(), expected), Errors.Relative(Torch.ToArray(theirs), expected));
            },
            Cleanup = () => { a.Dispose(); b.Dispose(); ta.Dispose(); tb.Dispose(); },
        };
    }
}
