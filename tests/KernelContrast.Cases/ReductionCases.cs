namespace KernelContrast.Cases;

internal sealed class ReductionCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        foreach ((string name, Shape shape) in new (string, Shape)[]
            { ("scalar", new()), ("ragged", new(3, 37)), ("feature map", new(2, 3, 5, 7)), ("several threads", new(257, 513)) })
        {
            CaseInput input = CaseInput.Normal(shape, (ulong)shape.Count, shift: 0.5);
            yield return Case("sum", name, input, t => Functional.Sum(t[0]), 1);
            yield return Case("mean", name, input, t => Functional.Mean(t[0]), 1.0 / shape.Count);
            yield return new()
            {
                Op = "scale",
                Name = name,
                Inputs = [input],
                Run = t => Functional.Scale(t[0], -1.7f),
                Reference = x => [.. x[0].Select(v => -1.7f * v)],
                ReferenceGradient = (_, g) => [[.. g.Select(v => -1.7f * v)]],
                Forward = new(1e-7, 0),
                Gradient = new(1e-7, 0),
            };
        }
        yield return Case("sum", "of nothing", CaseInput.Of(new(0, 5)), t => Functional.Sum(t[0]), 1);
        // 1 + 2²⁴ · (1 + 2⁻²³)-like values: a plain float sum loses the small ones
        yield return Case("sum", "large beside small", CaseInput.Of(new(4097), [1e8, .. Enumerable.Repeat(1.0, 4096)]), t => Functional.Sum(t[0]), 1);
    }

    private static OpCase Case(string op, string name, CaseInput input, Func<Tensor[], Tensor> run, double factor) => new()
    {
        Op = op,
        Kernels = ["Sum"],
        Name = name,
        Inputs = [input],
        Run = run,
        Reference = x => [factor * x[0].Sum()],
        ReferenceGradient = (x, g) => [[.. Enumerable.Repeat(factor * g[0], x[0].Length)]],
        Forward = new(1e-6, 0),
        Gradient = new(2e-7, 0),
    };
}
