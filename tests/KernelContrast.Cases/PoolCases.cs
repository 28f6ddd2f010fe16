namespace KernelContrast.Cases;

internal sealed class PoolCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        ulong seed = 900;
        foreach (Shape shape in new Shape[] { new(1, 1, 1, 1), new(3, 7, 5, 4), new(2, 33, 2, 3), new(40, 64, 6, 6) })
            yield return new()
            {
                Op = "global-avg-pool",
                Name = shape.ToString(),
                Inputs = [CaseInput.Normal(shape, seed++)],
                Run = t => Functional.GlobalAvgPool(t[0]),
                Reference = x => Mean(x[0], shape[2] * shape[3]),
            };
        foreach (bool max in new[] { true, false })
        {
            yield return Case(max, "one pixel", new(1, 1, 1, 1), 1, 1, 0, seed++);
            yield return Case(max, "2×2", new(2, 3, 6, 5), 2, 2, 0, seed++);
            yield return Case(max, "ResNet's stem: 3×3, stride 2, padding 1", new(3, 5, 7, 8), 3, 2, 1, seed++);
            yield return Case(max, "overlapping, stride 1", new(2, 20, 5, 5), 3, 1, 1, seed++);
            yield return Case(max, "gaps between windows", new(2, 16, 8, 7), 2, 3, 0, seed++);
            yield return Case(max, "several threads", new(40, 17, 9, 8), 3, 2, 1, seed++);
        }
        // of equal values the first takes the gradient; NaN wins
        yield return new()
        {
            Op = "max-pool2d",
            Name = "equal values",
            Inputs = [CaseInput.Of(new(1, 1, 2, 4), 1, 1, 2, 0, 1, 1, 2, 2)],
            Run = t => Functional.MaxPool2d(t[0], 2, 2),
            Reference = _ => [1, 2],
            ReferenceGradient = (_, g) => [[g[0], 0, g[1], 0, 0, 0, 0, 0]],
        };
        yield return new()
        {
            Op = "max-pool2d",
            Name = "NaN and −∞",
            Inputs = [CaseInput.Of(new(1, 1, 1, 4), 5, double.NaN, double.NegativeInfinity, double.NegativeInfinity)],
            Run = t => Functional.MaxPool2d(t[0], 1, 1),
            Reference = x => x[0],
            ReferenceGradient = (_, g) => [g],
        };
    }

    private static double[] Mean(double[] x, int pixels) =>
        [.. Enumerable.Range(0, x.Length / pixels).Select(i => x.AsSpan(i * pixels, pixels).ToArray().Average())];

    private static OpCase Case(bool max, string name, Shape shape, int kernel, int stride, int padding, ulong seed) => new()
    {
        Op = max ? "max-pool2d" : "avg-pool2d",
        Name = name,
        Inputs = [CaseInput.Distinct(shape, seed)],
        Run = t => max ? Functional.MaxPool2d(t[0], kernel, stride, padding) : Functional.AvgPool2d(t[0], kernel, stride, padding),
        Reference = x =>
        {
            int h = shape[2], w = shape[3], outH = (h + 2 * padding - kernel) / stride + 1, outW = (w + 2 * padding - kernel) / stride + 1;
            var y = new double[shape[0] * shape[1] * outH * outW];
            for (int i = 0; i < y.Length; i++)
            {
                int plane = i / (outH * outW), top = i / outW % outH * stride - padding, left = i % outW * stride - padding;
                y[i] = max ? double.NegativeInfinity : 0;
                for (int row = Math.Max(0, top); row < Math.Min(h, top + kernel); row++)
                    for (int column = Math.Max(0, left); column < Math.Min(w, left + kernel); column++)
                    {
                        double pixel = x[0][(plane * h + row) * w + column];
                        y[i] = max ? Math.Max(y[i], pixel) : y[i] + pixel / (kernel * kernel);
                    }
            }
            return y;
        },
    };
}
