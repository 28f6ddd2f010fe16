namespace KernelContrast.Cli.Bench;

/// <summary>Streaming top-k cosine neighbours, in the size of a kNN evaluation.</summary>
internal sealed class TopKRows : IKernelRows
{
    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        (int queries, int keys, int dim, int k) = tiny ? (40, 90, 24, 5) : (4096, 65536, 128, 20);
        foreach (Precision precision in Enum.GetValues<Precision>())
            yield return new("top-k", $"{k} of {keys} keys for {queries} queries of {dim}", KernelBench.NameOf(precision), 4L * dim * (queries + keys) + 8L * queries * k,
                2L * queries * keys * dim, device => Work(device, queries, keys, dim, k, precision));
    }

    private static KernelWork Work(Device device, int queries, int keys, int dim, int k, Precision precision)
    {
        Tensor q = Tensor.RandomNormal(new(queries, dim), 1, device), s = Tensor.RandomNormal(new(keys, dim), 2, device);
        return new(() =>
        {
            (Tensor indices, Tensor similarities) = Functional.CosineTopK(q, s, k, precision: precision);
            indices.Dispose();
            similarities.Dispose();
        }, [q, s], Error);

        // The neighbours of a few queries against those of a full sort in float64.
        double Error()
        {
            using var scope = new TensorScope();
            (_, Tensor similarities) = Functional.CosineTopK(q, s, k, precision: precision);
            float[] found = similarities.ToArray(), left = q.ToArray(), right = s.ToArray();
            double[] lengths = [.. Enumerable.Range(0, keys).Select(j => Math.Sqrt(Dot(right, j, right, j)))];
            var actual = new List<float>();
            var expected = new List<double>();
            for (int i = 0; i < queries; i += Math.Max(1, queries / 4))
            {
                double length = Math.Sqrt(Dot(left, i, left, i));
                expected.AddRange(Enumerable.Range(0, keys).Select(j => Dot(left, i, right, j) / length / lengths[j]).OrderDescending().Take(k));
                actual.AddRange(found.AsSpan(i * k, k));
            }
            return KernelBench.RelativeError([.. actual], [.. expected]);
        }

        double Dot(float[] a, int i, float[] b, int j)
        {
            double sum = 0;
            for (int d = 0; d < dim; d++) sum += (double)a[(long)i * dim + d] * b[(long)j * dim + d];
            return sum;
        }
    }
}
