namespace KernelContrast.Cases;

internal sealed class EmbeddingCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one entry", 1, 1, 3);
        yield return Case("repeated entries", 5, 19, 40);
        yield return Case("some entries unused", 50, 7, 9);
        yield return Case("no indices", 4, 6, 0);
        yield return Case("several threads", 700, 101, 900);
    }

    private static OpCase Case(string name, int entries, int dim, int count) => new()
    {
        Op = "embedding",
        Name = name,
        Inputs = [CaseInput.Normal(new(entries, dim), 1), CaseInput.Labels(count, entries, 2)],
        Run = t => Functional.Embedding(t[0], t[1]),
        Reference = x => [.. x[1].SelectMany(i => x[0].Skip((int)i * dim).Take(dim))],
        ReferenceGradient = (x, g) =>
        {
            var gradient = new double[entries * dim];
            for (int e = 0; e < g.Length; e++) gradient[(int)x[1][e / dim] * dim + e % dim] += g[e];
            return [gradient, null];
        },
        Forward = new(0, 0),
        Gradient = new(1e-6, 1e-6),
    };
}
