namespace KernelContrast.Cases;

/// <summary>What the tape adds gradients with; not differentiable itself.</summary>
internal sealed class AddInPlaceCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", new(1), 1);
        yield return Case("ragged tail", new(3, 37), 2);
        yield return Case("several blocks", new(33, 1025), 3);
    }

    private static OpCase Case(string name, Shape shape, ulong seed) => new()
    {
        Op = "add-in-place",
        Name = name,
        Inputs = [CaseInput.Normal(shape, seed), CaseInput.Normal(shape, seed + 100)],
        Run = t =>
        {
            Tensor sum = t[0].Clone();
            AddInPlaceOp.On(sum.Device).AddInPlace(sum, t[1]);
            return sum;
        },
        Reference = x => [.. x[0].Zip(x[1], (a, b) => a + b)],
        CheckGradient = false,
    };
}
