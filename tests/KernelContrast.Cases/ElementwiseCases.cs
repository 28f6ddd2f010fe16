namespace KernelContrast.Cases;

internal sealed class ElementwiseCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        (string Name, Shape A, Shape B)[] shapes =
        [
            ("scalars", new(), new()),
            ("same shape, ragged", new(3, 37), new(3, 37)),
            ("same feature map", new(2, 3, 5, 7), new(2, 3, 5, 7)),
            ("scalar on the right", new(5, 11), new()),
            ("scalar on the left", new(1), new(4, 19)),
            ("row", new(6, 21), new(21)),
            ("column", new(6, 21), new(6, 1)),
            ("outer", new(7, 1), new(1, 18)),
            ("middle", new(3, 1, 5), new(3, 4, 1)),
            ("channels of a feature map", new(2, 20, 3, 5), new(20, 1, 1)),
            ("plane of a feature map", new(2, 5, 3, 4), new(3, 4)),
            ("images of a feature map", new(3, 5, 2, 4), new(3, 1, 1, 1)),
            ("gate per image and channel", new(2, 6, 3, 3), new(2, 6, 1, 1)),
            ("volume on a feature map", new(2, 3, 4, 5), new(3, 4, 5)),
            ("rank 5", new(2, 1, 3, 1, 4), new(5, 1, 2, 4)),
            ("nothing", new(0, 3), new(3)),
            ("several threads", new(300, 257), new(300, 257)),
            ("several threads, summed rows", new(300, 257), new(257)),
            ("several threads, summed columns", new(300, 257), new(300, 1)),
            ("several threads, summed whole", new(300, 257), new(1)),
        ];
        ulong seed = 1;
        foreach ((string name, Shape a, Shape b) in shapes)
        {
            yield return Case("add", name, a, b, seed++, Functional.Add, (x, y) => x + y, (_, _) => (1, 1));
            yield return Case("subtract", name, a, b, seed++, Functional.Subtract, (x, y) => x - y, (_, _) => (1, -1));
            yield return Case("mul", name, a, b, seed++, Functional.Mul, (x, y) => x * y, (x, y) => (y, x));
        }
    }

    private static OpCase Case(string op, string name, Shape a, Shape b, ulong seed, Func<Tensor, Tensor, Tensor> run,
        Func<double, double, double> value, Func<double, double, (double A, double B)> slopes)
    {
        Shape y = Common(a, b);
        int[] indexA = Indices(y, a), indexB = Indices(y, b);
        return new()
        {
            Op = op,
            Kernels = ["Elementwise"],
            Name = name,
            Inputs = [CaseInput.Normal(a, seed, shift: 0.3), CaseInput.Normal(b, seed + 1000)],
            Run = t => run(t[0], t[1]),
            Reference = x => [.. indexA.Zip(indexB, (i, j) => value(x[0][i], x[1][j]))],
            ReferenceGradient = (x, g) => Scatter(x, (s, _) => s, g),
            GradientScale = (x, g) => Scatter(x, (s, _) => Math.Abs(s), [.. g.Select(Math.Abs)]),
            Forward = new(2e-7, 0),
            Gradient = new(1e-6, 0),
        };

        double[]?[] Scatter(double[][] x, Func<double, int, double> part, double[] g)
        {
            double[] gradA = new double[x[0].Length], gradB = new double[x[1].Length];
            for (int i = 0; i < g.Length; i++)
            {
                (double slopeA, double slopeB) = slopes(x[0][indexA[i]], x[1][indexB[i]]);
                gradA[indexA[i]] += part(slopeA, 0) * g[i];
                gradB[indexB[i]] += part(slopeB, 1) * g[i];
            }
            return [gradA, gradB];
        }
    }

    internal static Shape Common(Shape a, Shape b)
    {
        int rank = Math.Max(a.Rank, b.Rank);
        int[] left = Padded(a, rank), right = Padded(b, rank);
        return new([.. left.Zip(right, (l, r) => l == 1 ? r : l)]);
    }

    /// <summary>For every element of y in row-major order, the element of the operand that it reads.</summary>
    internal static int[] Indices(Shape y, Shape operand)
    {
        int[] sizes = Padded(operand, y.Rank), result = new int[y.Count];
        for (int e = 0; e < result.Length; e++)
        {
            int rest = e, index = 0, step = 1;
            for (int d = y.Rank - 1; d >= 0; d--)
            {
                int i = rest % y[d];
                rest /= y[d];
                if (sizes[d] != 1) index += i * step;
                step *= sizes[d];
            }
            result[e] = index;
        }
        return result;
    }

    private static int[] Padded(Shape shape, int rank) => [.. Enumerable.Repeat(1, rank - shape.Rank), .. shape.Sizes];
}
