namespace KernelContrast.Cases;

internal sealed class GeluCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", CaseInput.Normal(new(1), 1));
        yield return Case("ragged tail", CaseInput.Normal(new(3, 37), 2, scale: 2));
        yield return Case("feature map", CaseInput.Normal(new(2, 3, 5, 7), 3));
        yield return Case("several threads", CaseInput.Normal(new(129, 260), 4));
        yield return Case("far out", CaseInput.Of(new(8), -30, -14, -9, -5, 5, 9, 30, 0));
        yield return Case("infinities and NaN", CaseInput.Of(new(3), double.NegativeInfinity, double.PositiveInfinity, double.NaN), gradient: false);
    }

    private static OpCase Case(string name, CaseInput input, bool gradient = true) => new()
    {
        Op = "gelu",
        Name = name,
        Inputs = [input],
        Run = t => Functional.Gelu(t[0]),
        Reference = x => [.. x[0].Select(v => v < -40 ? 0 : double.IsPositiveInfinity(v) ? v : v * ReferenceFunctions.NormalCdf(v))],
        ReferenceGradient = (x, g) =>
            [[.. x[0].Zip(g, (v, up) => up * (ReferenceFunctions.NormalCdf(v) + v * Math.Exp(-v * v / 2) / Math.Sqrt(2 * Math.PI)))]],
        Forward = new(1e-6, 1e-7),
        Gradient = new(1e-6, 1e-6),
        CheckGradient = gradient,
    };
}
