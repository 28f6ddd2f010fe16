using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>Top-k cosine neighbours in the size of a kNN evaluation, and the cosine-similarity matrix with its gradients.</summary>
internal static class NeighborBench
{
    private const int Chunk = 256;

    internal static IEnumerable<PairedBench> All()
    {
        foreach (bool chunked in new[] { false, true })
            yield return new("neighbors", "top-20 of 65536 for 4096 D=128", new Dictionary<string, double> { ["default"] = 0.5, ["tuned"] = 0.6 },
                () => TopK(4096, 65536, 128, 20, chunked ? Chunk : 4096))
            {
                Peer = chunked ? "chunked" : "user",
                Tuned = true,
            };
        foreach (bool itself in new[] { false, true })
            yield return new("neighbors", $"cosine matrix fwd+bwd 4096×4096 D=128{(itself ? ", with itself" : "")}", new Dictionary<string, double> { ["default"] = 0.7, ["tuned"] = 1.0 },
                () => Matrix(4096, 128, itself))
            {
                Peer = "user",
                Tuned = true,
            };
    }

    private static PairedItem TopK(int queries, int keys, int dim, int k, int chunk)
    {
        Tensor q = Tensor.RandomNormal(new(queries, dim), 1), s = Tensor.RandomNormal(new(keys, dim), 2);
        TorchTensor tq = Torch.From(q.ToArray(), queries, dim), ts = Torch.From(s.ToArray(), keys, dim);
        return new PairedItem
        {
            Ours = () =>
            {
                (Tensor indices, Tensor similarities) = Functional.CosineTopK(q, s, k);
                indices.Dispose();
                similarities.Dispose();
            },
            Theirs = () =>
            {
                using var scope = torch.NewDisposeScope();
                using var unrecorded = torch.no_grad();
                Theirs(tq, ts);
            },
            Flops = 2.0 * queries * keys * dim,
            Errors = () =>
            {
                // a few queries
                using var scope = torch.NewDisposeScope();
                using var own = new TensorScope();
                const int Few = 64;
                double[] expected = Torch.ToDoubles(Theirs(tq[..Few].to(torch.ScalarType.Float64), ts.to(torch.ScalarType.Float64)));
                return (Errors.Relative(Functional.CosineTopK(q, s, k).Similarities.ToArray().AsSpan(0, Few * k), expected),
                    Errors.Relative(Torch.ToArray(Theirs(tq[..Few], ts)), expected));
            },
            Cleanup = () => { q.Dispose(); s.Dispose(); tq.Dispose(); ts.Dispose(); },
        };

        TorchTensor Theirs(TorchTensor a, TorchTensor b)
        {
            TorchTensor rows = functional.normalize(a), columns = functional.normalize(b).t();
            var parts = new List<TorchTensor>();
            for (long first = 0; first < rows.shape[0]; first += chunk)
            {
                using TorchTensor part = rows[(int)first..(int)Math.Min(first + chunk, rows.shape[0])].mm(columns);
                (TorchTensor values, TorchTensor indices) = part.topk(k, 1);
                indices.Dispose();
                parts.Add(values);
            }
            return torch.cat(parts, 0);
        }
    }

    private static PairedItem Matrix(int rows, int dim, bool itself)
    {
        Tensor a = Tensor.RandomNormal(new(rows, dim), 1), b = itself ? a : Tensor.RandomNormal(new(rows, dim), 2), up = Tensor.RandomNormal(new(rows, rows), 3);
        a.RequiresGrad = b.RequiresGrad = true;
        TorchTensor ta = Torch.From(a.ToArray(), rows, dim), tb = Torch.From(b.ToArray(), rows, dim), tup = Torch.From(up.ToArray(), rows, rows);
        return new PairedItem
        {
            Ours = () =>
            {
                using var scope = new TensorScope();
                Functional.CosineSimilarity(a, b).Backward(up);
                a.ClearGrad();
                b.ClearGrad();
            },
            Theirs = () =>
            {
                using var scope = torch.NewDisposeScope();
                Gradient(ta, tb, tup);
            },
            Flops = 6.0 * rows * rows * dim,
            Errors = () =>
            {
                using var scope = torch.NewDisposeScope();
                using var own = new TensorScope();
                double[] expected = Torch.ToDoubles(Gradient(ta.to(torch.ScalarType.Float64), tb.to(torch.ScalarType.Float64), tup.to(torch.ScalarType.Float64)));
                Functional.CosineSimilarity(a, b).Backward(up);
                double error = Errors.Relative(a.Grad!.ToArray(), expected);
                a.ClearGrad();
                b.ClearGrad();
                return (error, Errors.Relative(Torch.ToArray(Gradient(ta, tb, tup)), expected));
            },
            Cleanup = () =>
            {
                foreach (Tensor t in new[] { a, b, up }) t.Dispose();
                foreach (TorchTensor t in new[] { ta, tb, tup }) t.Dispose();
            },
        };

        TorchTensor Gradient(TorchTensor left, TorchTensor right, TorchTensor upstream)
        {
            TorchTensor x = Torch.Leaf(left), y = itself ? x : Torch.Leaf(right), unit = functional.normalize(x);
            unit.mm((itself ? unit : functional.normalize(y)).t()).backward([upstream]);
            return x.grad!;
        }
    }
}
