namespace KernelContrast.Cases;

internal sealed class ClampCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("a scalar", CaseInput.Of(new(), 0.7), -1, 0.5f);
        yield return Case("ragged tail", CaseInput.Normal(new(3, 37), 2), -0.5f, 1);
        yield return Case("feature map, no lower bound", CaseInput.Normal(new(2, 3, 5, 7), 3), float.NegativeInfinity, 0.25f);
        yield return Case("several threads, no upper bound", CaseInput.Normal(new(129, 260), 4), 0.1f, float.PositiveInfinity);
        yield return Case("on the bounds the gradient passes", CaseInput.Of(new(3, 6), [.. Enumerable.Range(0, 18).Select(i => (i % 6 - 3) / 2.0)]), -1, 0.5f);
        yield return Case("one value", CaseInput.Normal(new(40), 6), 0, 0);
        yield return Case("nothing", CaseInput.Normal(new(0, 3), 5), 0, 1);
        yield return Case("infinities and NaN", CaseInput.Of(new(20), [.. Enumerable.Range(0, 20).Select(i => (i % 3) switch { 0 => double.NaN, 1 => double.PositiveInfinity, _ => double.NegativeInfinity })]), -1, 2);
    }

    private static OpCase Case(string name, CaseInput input, float low, float high) => new()
    {
        Op = "clamp",
        Name = name,
        Inputs = [input],
        Run = t => Functional.Clamp(t[0], low, high),
        Reference = x => [.. x[0].Select(v => v < low ? low : v > high ? high : v)],
        ReferenceGradient = (x, g) => [[.. x[0].Zip(g, (v, up) => v < low || v > high ? 0 : up)]],
        Forward = new(0, 0),
        Gradient = new(0, 0),
    };
}
