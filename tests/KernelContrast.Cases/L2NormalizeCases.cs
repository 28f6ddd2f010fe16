namespace KernelContrast.Cases;

internal sealed class L2NormalizeCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Of("one column", CaseInput.AwayFromZero(new(4, 1), 1));
        yield return Of("narrower than a vector", CaseInput.Normal(new(5, 3), 2));
        yield return Of("two vectors and a tail", CaseInput.Normal(new(7, 37), 3));
        yield return Of("several threads", CaseInput.Normal(new(300, 128), 4));
        yield return Of("squares overflow", CaseInput.Normal(new(3, 20), 5, scale: 1e30));
        yield return Of("squares underflow", CaseInput.Normal(new(3, 20), 6, scale: 1e-30));
        yield return Of("subnormal", CaseInput.Of(new(2, 3), 1e-42, 2e-42, -2e-42, 0, 0, 1e-45), gradient: false);
        yield return Of("zero rows", CaseInput.Of(new(3, 2), 0, 0, 3, 4, -0.0, 0));
        yield return Of("NaN and infinity", CaseInput.Of(new(3, 2), double.NaN, 1, double.PositiveInfinity, 1, 3, 4), gradient: false);
    }

    private static OpCase Of(string name, CaseInput input, bool gradient = true) => new()
    {
        Op = "l2-normalize",
        Name = name,
        Inputs = [input],
        Run = t => Functional.L2Normalize(t[0]),
        Reference = x => Rows(x[0], input.Shape[1], (row, norm) => norm == 0 ? row : [.. row.Select(v => v / norm)]),
        ReferenceGradient = (x, g) =>
        {
            int dim = input.Shape[1], start = 0;
            return
            [
                Rows(x[0], dim, (row, norm) =>
                {
                    double[] grad = g[start..(start + dim)];
                    start += dim;
                    if (norm == 0) return new double[dim];
                    double dot = row.Zip(grad, (a, b) => a / norm * b).Sum();
                    return [.. row.Zip(grad, (a, b) => (b - a / norm * dot) / norm)];
                }),
            ];
        },
        Forward = new(2e-6, 0),
        Gradient = new(1e-5, 1e-5),
        CheckGradient = gradient,
    };

    private static double[] Rows(double[] x, int dim, Func<double[], double, double[]> map) =>
        [.. x.Chunk(dim).SelectMany(row => map(row, row.Any(v => !double.IsFinite(v)) ? double.NaN : Math.Sqrt(row.Sum(v => v * v))))];
}
