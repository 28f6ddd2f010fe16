using KernelContrast.Losses;

namespace KernelContrast.Cases;

internal sealed class NtXentCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        foreach (PairLayout layout in new[] { PairLayout.Halves, PairLayout.Interleaved })
        {
            foreach ((int pairs, int dim, float temperature) in new[]
            {
                (1, 7, 0.5f), (2, 1, 0.5f), (2, 64, 0.1f), (5, 7, 0.1f), (5, 128, 10f), (33, 64, 0.05f), (33, 100, 0.5f),
                (129, 128, 0.1f), (129, 7, 0.02f), (129, 1, 0.1f), (33, 100, 1e-3f), (33, 64, 0.0229f), (33, 64, 0.0231f),
            })
            {
                yield return Case($"{pairs} pairs of {dim}, τ {temperature}, {layout}",
                    CaseInput.Normal(new(2 * pairs, dim), (ulong)(100 * pairs + dim)), temperature, layout);
            }
        }
        foreach (float temperature in new[] { 0.5f, 0.05f, 0.02f })
        {
            yield return Case($"identical rows, τ {temperature}", Rows(40, 24, (_, k) => k - 7), temperature);
            yield return Case($"near-identical pairs, τ {temperature}", NearIdenticalPairs(17, 40), temperature);
            yield return Case($"a zero row, τ {temperature}", Rows(10, 24, (i, k) => i == 3 ? 0 : Math.Sin(1 + i * 24 + k)), temperature);
        }
        yield return Case("norms 1e-18 and 1e18",
            Rows(12, 24, (i, k) => (i % 3 == 0 ? 1e-18 : i % 3 == 1 ? 1e18 : 1) * Math.Sin(1 + i * 24 + k)), 0.1f);
        yield return Case("all rows zero", Rows(6, 5, (_, _) => 0), 0.5f);
        yield return Case("NaN in one row", Rows(6, 5, (i, k) => i == 2 && k == 3 ? double.NaN : 1 + i * k), 0.5f);
        yield return Case("infinity in one row", Rows(6, 5, (i, k) => i == 2 && k == 3 ? double.PositiveInfinity : 1 + i * k), 0.01f);
        foreach (int rows in new[] { 256, 1024, 4096, 8192 })
            yield return Case($"{rows} rows of 128", CaseInput.Normal(new(rows, 128), 9), 0.1f, benchmark: true);
    }

    private static CaseInput Rows(int rows, int dim, Func<int, int, double> element)
    {
        var values = new double[rows * dim];
        for (int i = 0; i < values.Length; i++) values[i] = element(i / dim, i % dim);
        return CaseInput.Of(new(rows, dim), values);
    }

    /// <summary>Converged: partners differ by a part in 10⁴, other rows are far away.</summary>
    private static CaseInput NearIdenticalPairs(int pairs, int dim) => Rows(2 * pairs, dim, (i, k) =>
        Math.Sin(1 + 3.7 * (i % pairs * dim + k) * (i % pairs + 1)) + 1e-4 * Math.Cos(5 + i * dim + k));

    private static OpCase Case(string name, CaseInput embeddings, float temperature, PairLayout layout = PairLayout.Halves, bool benchmark = false)
    {
        int rows = embeddings.Shape[0], dim = embeddings.Shape[1];
        // The inputs of a case never change, so one evaluation serves the loss, the gradient and its scale.
        NtXentReference? reference = null;
        NtXentReference Reference(double[] x) => reference ??= new(x, rows, dim, temperature, layout);
        return new()
        {
            Op = "nt-xent",
            Name = name,
            Inputs = [embeddings],
            Run = t => NtXent.Loss(t[0], temperature, layout),
            Reference = x => [Reference(x[0]).Loss],
            ReferenceGradient = (x, cotangent) => [Reference(x[0]).Gradient(cotangent[0])],
            GradientScale = (x, cotangent) => [Reference(x[0]).GradientScale(cotangent[0])],
            Forward = new(1e-5, 0, Floor: 1e-5),
            Gradient = new(1e-5, 0),
            // Every similarity once forward, and once more with two products backward, each for half of the pairs.
            Flops = 4L * rows * rows * dim,
            Bytes = 3L * rows * dim * sizeof(float),
            BenchmarkOnly = benchmark,
        };
    }
}
