namespace KernelContrast.Cases;

internal sealed class LayerNormCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("narrower than a vector", 4, 3, true, true, 1);
        yield return Case("a vector and a tail", 5, 21, true, true, 2);
        yield return Case("whole vectors", 6, 96, true, true, 3);
        yield return Case("no scale", 3, 19, false, true, 4);
        yield return Case("no offset", 3, 19, true, false, 5);
        yield return Case("neither", 3, 35, false, false, 6);
        yield return Case("several threads", 300, 131, true, true, 7);
        // x is exact in float, so a mean of 10⁴ deviations costs what rounding the mean costs
        yield return Case("large mean", 4, 50, true, true, 8, mean: 1e4, tolerance: 1e-3);
        yield return Case("equal elements", 1, 7, true, true, 9, scale: 0, mean: 3, gradient: false);
        yield return new()
        {
            Op = "layer-norm",
            Name = "8192×1024",
            Inputs = [CaseInput.Normal(new(8192, 1024), 10), CaseInput.Normal(new(1024), 11), CaseInput.Normal(new(1024), 12)],
            Run = t => Functional.LayerNorm(t[0], t[1], t[2]),
            Reference = x => LayerNorm(x[0], x[1], x[2], 1024),
            Bytes = 5L * 8192 * 1024 * 4,
            BenchmarkOnly = true,
        };
    }

    private static OpCase Case(string name, int rows, int dim, bool gamma, bool beta, ulong seed, double scale = 1, double mean = 0.5,
        double tolerance = 1e-5, bool gradient = true)
    {
        List<CaseInput> inputs = [CaseInput.Normal(new(rows, dim), seed, scale, mean)];
        if (gamma) inputs.Add(CaseInput.Normal(new(dim), seed + 100, shift: 1));
        if (beta) inputs.Add(CaseInput.Normal(new(dim), seed + 200));
        int betaAt = gamma ? 2 : 1;
        return new()
        {
            Op = "layer-norm",
            Name = name,
            Inputs = [.. inputs],
            Run = t => Functional.LayerNorm(t[0], gamma ? t[1] : null, beta ? t[betaAt] : null),
            Reference = x => LayerNorm(x[0], gamma ? x[1] : null, beta ? x[betaAt] : null, dim),
            ReferenceGradient = (x, g) =>
            {
                double[]?[] all = Backward(x[0], gamma ? x[1] : null, g, dim);
                return [all[0], .. gamma ? all[1..2] : [], .. beta ? all[2..] : []];
            },
            Forward = new(tolerance, tolerance),
            Gradient = new(tolerance * 2, tolerance * 2),
            CheckGradient = gradient,
        };
    }

    private static (double Mean, double Inverse) Statistics(double[] x, int row, int dim)
    {
        double mean = x.Skip(row * dim).Take(dim).Average();
        return (mean, 1 / Math.Sqrt(x.Skip(row * dim).Take(dim).Average(v => (v - mean) * (v - mean)) + 1e-5f));
    }

    private static double[] LayerNorm(double[] x, double[]? gamma, double[]? beta, int dim)
    {
        var y = new double[x.Length];
        for (int row = 0; row < x.Length / dim; row++)
        {
            (double mean, double inverse) = Statistics(x, row, dim);
            for (int d = 0; d < dim; d++)
                y[row * dim + d] = (x[row * dim + d] - mean) * inverse * (gamma?[d] ?? 1) + (beta?[d] ?? 0);
        }
        return y;
    }

    private static double[]?[] Backward(double[] x, double[]? gamma, double[] grad, int dim)
    {
        double[] gradX = new double[x.Length], gradGamma = new double[dim], gradBeta = new double[dim];
        for (int row = 0; row < x.Length / dim; row++)
        {
            (double mean, double inverse) = Statistics(x, row, dim);
            double[] normal = [.. x[(row * dim)..((row + 1) * dim)].Select(v => (v - mean) * inverse)];
            double[] up = grad[(row * dim)..((row + 1) * dim)], h = [.. up.Select((v, d) => v * (gamma?[d] ?? 1))];
            double meanH = h.Average(), meanHX = h.Zip(normal, (a, b) => a * b).Average();
            for (int d = 0; d < dim; d++)
            {
                gradX[row * dim + d] = inverse * (h[d] - meanH - normal[d] * meanHX);
                gradGamma[d] += up[d] * normal[d];
                gradBeta[d] += up[d];
            }
        }
        return [gradX, gradGamma, gradBeta];
    }
}
