namespace KernelContrast.Cases;

internal sealed class ReluCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", new(1), 1);
        yield return Case("ragged tail", new(3, 37), 2);
        yield return Case("feature map", new(2, 3, 5, 7), 3);
        yield return Case("several threads", new(257, 513), 4);
    }

    private static OpCase Case(string name, Shape shape, ulong seed) => new()
    {
        Op = "relu",
        Name = name,
        Inputs = [CaseInput.AwayFromZero(shape, seed)],
        Run = t => Functional.Relu(t[0]),
        Reference = x => [.. x[0].Select(v => Math.Max(v, 0))],
    };
}
