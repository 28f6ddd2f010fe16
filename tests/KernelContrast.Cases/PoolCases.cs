namespace KernelContrast.Cases;

internal sealed class PoolCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        ulong seed = 900;
        foreach (Shape shape in new Shape[] { new(1, 1, 1, 1), new(3, 7, 5, 4), new(2, 33, 2, 3), new(40, 64, 6, 6) })
            yield return new()
            {
                Op = "global_avg_pool",
                Name = shape.ToString(),
                Inputs = [CaseInput.Normal(shape, seed++)],
                Run = t => Functional.GlobalAvgPool(t[0]),
                Reference = x => Mean(x[0], shape[2] * shape[3]),
            };
        yield return Max("one pixel", new(1, 1, 1, 1), 1, 1, 0, seed++);
        yield return Max("2×2", new(2, 3, 6, 5), 2, 2, 0, seed++);
        yield return Max("ResNet's stem: 3×3, stride 2, padding 1", new(3, 5, 7, 8), 3, 2, 1, seed++);
        yield return Max("overlapping, stride 1", new(2, 20, 5, 5), 3, 1, 1, seed++);
    }

    private static double[] Mean(double[] x, int pixels) =>
        [.. Enumerable.Range(0, x.Length / pixels).Select(i => x.AsSpan(i * pixels, pixels).ToArray().Average())];

    private static OpCase Max(string name, Shape shape, int kernel, int stride, int padding, ulong seed) => new()
    {
        Op = "max_pool2d",
        Name = name,
        Inputs = [CaseInput.Distinct(shape, seed)],
        Run = t => Functional.MaxPool2d(t[0], kernel, stride, padding),
        Reference = x =>
        {
            int h = shape[2], w = shape[3], outH = (h + 2 * padding - kernel) / stride + 1, outW = (w + 2 * padding - kernel) / stride + 1;
            var y = new double[shape[0] * shape[1] * outH * outW];
            for (int i = 0; i < y.Length; i++)
            {
                int plane = i / (outH * outW), top = i / outW % outH * stride - padding, left = i % outW * stride - padding;
                y[i] = double.NegativeInfinity;
                for (int row = Math.Max(0, top); row < Math.Min(h, top + kernel); row++)
                    for (int column = Math.Max(0, left); column < Math.Min(w, left + kernel); column++)
                        y[i] = Math.Max(y[i], x[0][(plane * h + row) * w + column]);
            }
            return y;
        },
    };
}
