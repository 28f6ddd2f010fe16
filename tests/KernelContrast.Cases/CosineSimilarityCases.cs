namespace KernelContrast.Cases;

internal sealed class CosineSimilarityCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one pair", CaseInput.Normal(new(1, 3), 1), CaseInput.Normal(new(1, 3), 2));
        yield return Case("ragged", CaseInput.Normal(new(5, 19), 3), CaseInput.Normal(new(7, 19), 4));
        yield return Case("several threads", CaseInput.Normal(new(70, 37), 5), CaseInput.Normal(new(130, 37), 6));
        yield return Case("lengths far apart", CaseInput.Normal(new(3, 8), 7, scale: 1e25), CaseInput.Normal(new(4, 8), 8, scale: 1e-25), gradient: false);
        yield return Case("a row of zeros", CaseInput.Of(new(2, 2), 0, 0, 1, 2), CaseInput.Of(new(2, 2), 3, 4, -1, 1), gradient: false);
        CaseInput rows = CaseInput.Normal(new(6, 5), 9);
        yield return new()
        {
            Op = "cosine-similarity",
            Kernels = ["L2Normalize", "MatMul"],
            Name = "rows with themselves",
            Inputs = [rows],
            Run = t => Functional.CosineSimilarity(t[0], t[0]),
            Reference = x => Similarity(x[0], x[0], 5),
        };
    }

    private static OpCase Case(string name, CaseInput a, CaseInput b, bool gradient = true) => new()
    {
        Op = "cosine-similarity",
        Kernels = ["L2Normalize", "MatMul"],
        Name = name,
        Inputs = [a, b],
        Run = t => Functional.CosineSimilarity(t[0], t[1]),
        Reference = x => Similarity(x[0], x[1], a.Shape[1]),
        Forward = new(1e-6, 2e-6),
        CheckGradient = gradient,
    };

    private static double[] Similarity(double[] a, double[] b, int dim) =>
        [.. a.Chunk(dim).SelectMany(left => b.Chunk(dim).Select(right => Cosine(left, right)))];

    private static double Cosine(double[] a, double[] b)
    {
        double lengths = Math.Sqrt(a.Sum(v => v * v)) * Math.Sqrt(b.Sum(v => v * v));
        return lengths == 0 ? 0 : a.Zip(b, (x, y) => x * y).Sum() / lengths;
    }
}
