namespace KernelContrast.Cases;

internal sealed class ExpCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("a scalar", CaseInput.Normal(new(), 1));
        yield return Case("ragged tail", CaseInput.Normal(new(3, 37), 2, scale: 2));
        yield return Case("feature map", CaseInput.Normal(new(2, 3, 5, 7), 3));
        yield return Case("several threads", CaseInput.Normal(new(129, 260), 4));
        yield return Case("far out", CaseInput.Of(new(7), -80, -20, -4.6052, 0, 4.6052, 20, 80));
        yield return Case("nothing", CaseInput.Normal(new(0, 3), 5));
        yield return Case("infinities, NaN and what overflows", CaseInput.Of(new(5), double.NegativeInfinity, double.PositiveInfinity, double.NaN, 89, -110), gradient: false);
    }

    private static OpCase Case(string name, CaseInput input, bool gradient = true) => new()
    {
        Op = "exp",
        Name = name,
        Inputs = [input],
        Run = t => Functional.Exp(t[0]),
        Reference = x => [.. x[0].Select(v => (double)(float)Math.Exp(v))],
        ReferenceGradient = (x, g) => [[.. x[0].Zip(g, (v, up) => up * Math.Exp(v))]],
        Forward = new(4e-7, 0),
        Gradient = new(6e-7, 0),
        CheckGradient = gradient,
    };
}
