using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>Memory-bound ops, forward and backward with a given upstream gradient.</summary>
internal static class NormBench
{
    private static readonly Dictionary<string, double> s_targets = new() { ["default"] = 0.5, ["tuned"] = 1.0 };

    internal static IEnumerable<PairedBench> All()
    {
        yield return Row("softmax 4096×4096", new(4096, 4096),
            (x, _) => Functional.Softmax(x), (x, _) => functional.softmax(x, 1));
        yield return Row("layer norm 8192×1024", new(8192, 1024),
            (x, p) => Functional.LayerNorm(x, p[0], p[1]), (x, p) => functional.layer_norm(x, [1024], p[0], p[1]));
        foreach (Shape shape in new Shape[] { new(256, 16, 28, 28), new(64, 64, 32, 32) })
            yield return Row($"batch norm + ReLU {string.Join('×', shape.Sizes.ToArray())}", shape,
                (x, p) => Functional.BatchNorm(x, p[0], p[1], p[2], p[3], training: true, relu: true),
                (x, p) => functional.relu(functional.batch_norm(x, p[2], p[3], p[0], p[1], training: true)));
    }

    private static PairedBench Row(string name, Shape shape, Func<Tensor, Tensor[], Tensor> ours, Func<TorchTensor, TorchTensor[], TorchTensor> theirs) =>
        new("norms", name, s_targets, () => Create(shape, ours, theirs));

    private static PairedItem Create(Shape shape, Func<Tensor, Tensor[], Tensor> ours, Func<TorchTensor, TorchTensor[], TorchTensor> theirs)
    {
        int channels = shape[1];
        Tensor x = Tensor.RandomNormal(shape, 1), up = Tensor.RandomNormal(shape, 2);
        Tensor[] parameters = [Tensor.Full(new(channels), 1.1f), Tensor.Full(new(channels), 0.1f), Tensor.Zeros(new(channels)), Tensor.Full(new(channels), 1)];
        x.RequiresGrad = parameters[0].RequiresGrad = parameters[1].RequiresGrad = true;
        long[] sizes = [.. shape.Sizes.ToArray().Select(s => (long)s)];
        TorchTensor tx = Torch.From(x.ToArray(), sizes), tup = Torch.From(up.ToArray(), sizes);
        TorchTensor[] tp = [.. parameters.Select(p => Torch.From(p.ToArray(), channels))];
        tp[0].requires_grad_(true);
        tp[1].requires_grad_(true);

        return new PairedItem
        {
            Ours = () =>
            {
                using var scope = new TensorScope();
                ours(x, parameters).Backward(up);
                x.ClearGrad();
                parameters[0].ClearGrad();
                parameters[1].ClearGrad();
            },
            Theirs = () =>
            {
                using var scope = torch.NewDisposeScope();
                TorchTensor leaf = Torch.Leaf(tx);
                theirs(leaf, tp).backward([tup]);
                tp[0].grad?.zero_();
                tp[1].grad?.zero_();
            },
            Bytes = 4.0 * shape.Count * 5,
            Errors = () =>
            {
                using var scope = torch.NewDisposeScope();
                TorchTensor leaf = Torch.Leaf(tx.to(torch.ScalarType.Float64));
                TorchTensor[] exact = [.. tp.Select(p => p.detach().to(torch.ScalarType.Float64))];
                theirs(leaf, exact).backward([tup.to(torch.ScalarType.Float64)]);
                return Measure(Torch.ToDoubles(leaf.grad!));
            },
            Cleanup = () =>
            {
                foreach (Tensor t in new[] { x, up }.Concat(parameters)) t.Dispose();
                foreach (TorchTensor t in new[] { tx, tup }.Concat(tp)) t.Dispose();
            },
        };

        (double, double) Measure(double[] expected)
        {
            using var scope = new TensorScope();
            using var theirScope = torch.NewDisposeScope();
            ours(x, parameters).Backward(up);
            TorchTensor leaf = Torch.Leaf(tx);
            theirs(leaf, tp).backward([tup]);
            double error = Errors.Relative(x.Grad!.ToArray(), expected);
            x.ClearGrad();
            return (error, Errors.Relative(Torch.ToArray(leaf.grad!), expected));
        }
    }
}
