namespace KernelContrast.Cases;

internal sealed class CosineSimilarityCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one pair", CaseInput.Normal(new(1, 3), 1), CaseInput.Normal(new(1, 3), 2));
        yield return Case("ragged", CaseInput.Normal(new(5, 19), 3), CaseInput.Normal(new(7, 19), 4));
        yield return Case("several threads", CaseInput.Normal(new(70, 37), 5), CaseInput.Normal(new(130, 37), 6));
        yield return Case("D = 1", CaseInput.AwayFromZero(new(33, 1), 7), CaseInput.AwayFromZero(new(5, 1), 8));
        yield return Case("one row against 257, D = 7", CaseInput.Normal(new(1, 7), 9), CaseInput.Normal(new(257, 7), 10));
        yield return Case("513 rows against 3, D = 64", CaseInput.Normal(new(513, 64), 11), CaseInput.Normal(new(3, 64), 12));
        yield return Case("whole tiles, D = 128", CaseInput.Normal(new(64, 128), 13), CaseInput.Normal(new(128, 128), 14));
        yield return Case("D = 768", CaseInput.Normal(new(9, 768), 15), CaseInput.Normal(new(17, 768), 16));
        yield return Case("D = 2047", CaseInput.Normal(new(3, 2047), 17), CaseInput.Normal(new(5, 2047), 18));
        yield return Case("lengths far apart", CaseInput.Normal(new(3, 8), 7, scale: 1e25), CaseInput.Normal(new(4, 8), 8, scale: 1e-25));
        yield return Case("subnormal and nearly too large", CaseInput.Normal(new(3, 8), 19, scale: 1e-40), CaseInput.Normal(new(4, 8), 20, scale: 1e37), gradient: false);
        yield return Case("a row of zeros", CaseInput.Of(new(2, 2), 0, 0, 1, 2), CaseInput.Of(new(2, 2), 3, 4, -1, 1));
        yield return Case("rows that are not finite", CaseInput.Of(new(3, 2), double.NaN, 0, 1, 2, 0, 0), CaseInput.Of(new(2, 2), 3, double.PositiveInfinity, -1, 1), gradient: false);
        yield return Itself("rows with themselves", CaseInput.Normal(new(6, 5), 9));
        yield return Itself("rows with themselves, several tiles", CaseInput.Normal(new(150, 33), 21));
        yield return Itself("rows with themselves, whole tiles", CaseInput.Normal(new(128, 64), 22));
    }

    private static OpCase Case(string name, CaseInput a, CaseInput b, bool gradient = true) => new()
    {
        Op = "cosine-similarity",
        Name = name,
        Inputs = [a, b],
        Run = t => Functional.CosineSimilarity(t[0], t[1]),
        Reference = x => Similarity(x[0], x[1], a.Shape[1]),
        ReferenceGradient = (x, g) => [Gradient(x[0], x[1], g, a.Shape[1], transposed: false), Gradient(x[1], x[0], g, a.Shape[1], transposed: true)],
        Forward = new(1e-6, 2e-6),
        CheckGradient = gradient,
    };

    private static OpCase Itself(string name, CaseInput rows) => new()
    {
        Op = "cosine-similarity",
        Name = name,
        Inputs = [rows],
        Run = t => Functional.CosineSimilarity(t[0], t[0]),
        Reference = x => Similarity(x[0], x[0], rows.Shape[1]),
        ReferenceGradient = (x, g) =>
        {
            double[] left = Gradient(x[0], x[0], g, rows.Shape[1], transposed: false), right = Gradient(x[0], x[0], g, rows.Shape[1], transposed: true);
            return [[.. left.Zip(right, (l, r) => l + r)]];
        },
        Forward = new(1e-6, 2e-6),
    };

    internal static double[] Similarity(double[] a, double[] b, int dim) =>
        [.. a.Chunk(dim).SelectMany(left => b.Chunk(dim).Select(right => Cosine(left, right)))];

    private static double Cosine(double[] a, double[] b)
    {
        double lengths = Length(a) * Length(b);
        return lengths == 0 ? 0 : double.IsFinite(lengths) ? a.Zip(b, (x, y) => x * y).Sum() / lengths : double.NaN;
    }

    /// <summary>∂/∂a_i = Σ_j G_ij (y_j − s_ij x_i) / ‖a_i‖, with x and y the unit rows; of b when transposed.</summary>
    internal static double[] Gradient(double[] a, double[] b, double[] g, int dim, bool transposed)
    {
        int rows = a.Length / dim, columns = b.Length / dim;
        double[][] x = [.. a.Chunk(dim).Select(Unit)], y = [.. b.Chunk(dim).Select(Unit)];
        var gradient = new double[a.Length];
        for (int i = 0; i < rows; i++)
        {
            double length = Length(a[(i * dim)..((i + 1) * dim)]);
            if (length == 0) continue;
            for (int j = 0; j < columns; j++)
            {
                double weight = (transposed ? g[j * rows + i] : g[i * columns + j]) / length, s = x[i].Zip(y[j], (u, v) => u * v).Sum();
                for (int d = 0; d < dim; d++) gradient[i * dim + d] += weight * (y[j][d] - s * x[i][d]);
            }
        }
        return gradient;
    }

    private static double Length(double[] row) => Math.Sqrt(row.Sum(v => v * v));

    private static double[] Unit(double[] row)
    {
        double length = Length(row);
        return length == 0 ? row : [.. row.Select(v => v / length)];
    }
}
