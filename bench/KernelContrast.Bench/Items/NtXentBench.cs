using KernelContrast.Losses;
using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>
/// NT-Xent forward and backward at τ = 0.1, rows of D = 128, against what a user of TorchSharp writes (autograd over the
/// N×N matrix).
/// </summary>
internal static class NtXentBench
{
    internal const float Temperature = 0.1f;

    internal static IEnumerable<PairedBench> All()
    {
        foreach (int rows in new[] { 256, 512, 1024, 4096, 8192, 16384 })
        {
            var targets = rows <= 1024
                ? new Dictionary<string, double> { ["default"] = 0.33, ["tuned"] = 0.40 }
                : rows <= 8192 ? new() { ["default"] = 0.18, ["tuned"] = 0.35 } : new() { ["default"] = 0.12 };
            if (rows >= 1024) targets["default avx2"] = targets["tuned avx2"] = rows == 1024 ? 0.55 : 0.4;
            yield return new PairedBench("nt-xent", $"NT-Xent fwd+bwd N={rows} D=128", targets, () => Create(rows, 128))
            {
                Narrow = rows is 1024 or 4096,
            };
        }
    }

    private static PairedItem Create(int rows, int dim)
    {
        Tensor x = Tensor.RandomNormal(new(rows, dim), 3);
        x.RequiresGrad = true;
        TorchTensor tx = Torch.From(x.ToArray(), rows, dim);
        TorchTensor self = torch.eye(rows, dtype: torch.ScalarType.Bool);
        TorchTensor partner = torch.cat([torch.arange(rows / 2, rows), torch.arange(0, rows / 2)], 0);
        return new PairedItem
        {
            Ours = () =>
            {
                using var scope = new TensorScope();
                NtXent.Loss(x, Temperature).Backward();
                x.ClearGrad();
            },
            Theirs = () =>
            {
                using var scope = torch.NewDisposeScope();
                Loss(Torch.Leaf(tx), self, partner).backward();
            },
            // Dot products once in the forward, three times in the backward, over half of the matrix each.
            Flops = 4.0 * rows * rows * dim,
            Errors = rows > 4096 ? null : () => Measure(x, tx, self, partner),
            Cleanup = () =>
            {
                x.Dispose();
                tx.Dispose();
                self.Dispose();
                partner.Dispose();
            },
        };
    }

    internal static TorchTensor Loss(TorchTensor x, TorchTensor self, TorchTensor partner)
    {
        TorchTensor z = functional.normalize(x, dim: 1);
        TorchTensor logits = z.mm(z.t()).div(Temperature).masked_fill(self, double.NegativeInfinity);
        return functional.cross_entropy(logits, partner);
    }

    private static (double, double) Measure(Tensor x, TorchTensor tx, TorchTensor self, TorchTensor partner)
    {
        using var scope = new TensorScope();
        using var theirScope = torch.NewDisposeScope();
        TorchTensor exact = Torch.Leaf(tx.to(torch.ScalarType.Float64));
        Loss(exact, self, partner).backward();
        TorchTensor leaf = Torch.Leaf(tx);
        Loss(leaf, self, partner).backward();
        NtXent.Loss(x, Temperature).Backward();
        double[] expected = Torch.ToDoubles(exact.grad!);
        var result = (Errors.Relative(x.Grad!.ToArray(), expected), Errors.Relative(Torch.ToArray(leaf.grad!), expected));
        x.ClearGrad();
        return result;
    }
}
