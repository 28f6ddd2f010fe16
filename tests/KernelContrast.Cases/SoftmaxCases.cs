namespace KernelContrast.Cases;

internal sealed class SoftmaxCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", new(1, 1), 1, 1);
        yield return Case("narrower than a vector", new(5, 3), 1, 2);
        yield return Case("three vectors and a tail", new(7, 53), 0.5f, 3);
        yield return Case("whole vectors", new(4, 96), 2, 4);
        yield return Case("several threads", new(131, 300), 1, 5);
        yield return Of("logits of ±10⁴", CaseInput.Normal(new(6, 21), 6, scale: 1e4), 1);
        yield return Of("low temperature", CaseInput.Normal(new(6, 21), 7), 0.01f);
        yield return Of("−∞ and NaN", CaseInput.Of(new(3, 3), 1, double.NegativeInfinity, 2, 1, double.NaN, 2,
            double.NegativeInfinity, double.NegativeInfinity, double.NegativeInfinity), 1, gradient: false);
        yield return Of("no rows", CaseInput.Of(new(0, 4)), 1);
        yield return new()
        {
            Op = "softmax",
            Name = "4096×4096",
            Inputs = [CaseInput.Normal(new(4096, 4096), 8)],
            Run = t => Functional.Softmax(t[0]),
            Reference = x => Softmax(x[0], 4096, 1),
            Bytes = 5L * 4096 * 4096 * 4,
            BenchmarkOnly = true,
        };
    }

    private static OpCase Case(string name, Shape shape, float temperature, ulong seed) =>
        Of(name, CaseInput.Normal(shape, seed), temperature);

    private static OpCase Of(string name, CaseInput input, float temperature, bool gradient = true) => new()
    {
        Op = "softmax",
        Name = name,
        Inputs = [input],
        Run = t => Functional.Softmax(t[0], temperature),
        Reference = x => Softmax(x[0], input.Shape[1], temperature),
        ReferenceGradient = (x, g) => [Backward(Softmax(x[0], input.Shape[1], temperature), g, input.Shape[1], temperature)],
        Forward = new(5e-6 * Math.Max(1, 0.1 / temperature), 1e-6),
        Gradient = new(1e-5 * Math.Max(1, 0.1 / temperature), 1e-5),
        CheckGradient = gradient,
    };

    private static double[] Softmax(double[] x, int dim, double temperature)
    {
        var y = new double[x.Length];
        for (int row = 0; row < x.Length; row += dim)
        {
            double max = x.AsSpan(row, dim).ToArray().Max(), sum = 0;
            for (int d = 0; d < dim; d++) sum += y[row + d] = Math.Exp((x[row + d] - max) / temperature);
            for (int d = 0; d < dim; d++) y[row + d] /= sum;
        }
        return y;
    }

    private static double[] Backward(double[] y, double[] grad, int dim, double temperature)
    {
        var result = new double[y.Length];
        for (int row = 0; row < y.Length; row += dim)
        {
            double dot = 0;
            for (int d = row; d < row + dim; d++) dot += y[d] * grad[d];
            for (int d = row; d < row + dim; d++) result[d] = y[d] * (grad[d] - dot) / temperature;
        }
        return result;
    }
}
