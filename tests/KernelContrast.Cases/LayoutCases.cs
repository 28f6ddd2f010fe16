namespace KernelContrast.Cases;

/// <summary>Ops that move elements and compute nothing: every result is exact.</summary>
internal sealed class LayoutCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        (string Name, Shape From, Shape To)[] reshapes =
        [
            ("rank 3 to 2", new(2, 3, 5), new(6, 5)),
            ("scalar to vector", new(), new(1)),
            ("feature map to rows", new(2, 3, 5, 7), new(2, 105)),
            ("rows to feature map", new(2, 105), new(2, 3, 5, 7)),
            ("feature map to feature map", new(2, 3, 4, 5), new(4, 5, 2, 3)),
            ("one pixel: a view", new(4, 6, 1, 1), new(4, 6)),
            ("one channel: a view", new(3, 1, 4, 5), new(3, 20)),
            ("to one channel", new(2, 3, 4, 5), new(2, 1, 6, 10)),
            ("several threads", new(5, 33, 17, 19), new(5, 33 * 17 * 19)),
        ];
        foreach ((string name, Shape from, Shape to) in reshapes)
            yield return Moved("reshape", name, [from], t => Functional.Reshape(t[0], to), [.. Enumerable.Range(0, (int)from.Count).Select(e => (0, e))]);

        foreach ((string name, int rows, int columns) in new[] { ("one element", 1, 1), ("ragged", 5, 37), ("several threads", 301, 217) })
            yield return Moved("transpose", name, [new(rows, columns)], t => Functional.Transpose(t[0]),
                [.. Enumerable.Range(0, rows * columns).Select(e => (0, e % rows * columns + e / rows))]);

        (string Name, int Dim, Shape[] Shapes)[] concats =
        [
            ("one tensor", 0, [new(3, 4)]),
            ("vectors", 0, [new(3), new(0), new(5)]),
            ("rows", 0, [new(2, 5), new(3, 5)]),
            ("columns, from the last", -1, [new(4, 5), new(4, 2), new(4, 19)]),
            ("images", 0, [new(2, 3, 2, 4), new(1, 3, 2, 4)]),
            ("channels", 1, [new(2, 3, 4, 2), new(2, 5, 4, 2)]),
            ("height", 2, [new(2, 3, 4, 2), new(2, 3, 1, 2)]),
            ("width", 3, [new(2, 3, 4, 2), new(2, 3, 4, 3)]),
            ("several threads", 1, [new(700, 40), new(700, 17)]),
        ];
        foreach ((string name, int dim, Shape[] shapes) in concats)
            yield return Moved("concat", name, shapes, t => Functional.Concat(t, dim), ConcatSources(shapes, dim));

        (string Name, Shape Shape, int Dim, int Start, int Length)[] slices =
        [
            ("vector", new(9), 0, 2, 5),
            ("nothing", new(9, 2), 0, 9, 0),
            ("rows", new(5, 7), 0, 1, 3),
            ("columns, from the last", new(5, 7), -1, 6, 1),
            ("images", new(3, 2, 2, 5), 0, 1, 2),
            ("channels", new(2, 7, 3, 2), 1, 3, 2),
            ("height", new(2, 3, 5, 2), 2, 1, 3),
            ("width", new(2, 3, 2, 5), 3, 4, 1),
            ("several threads", new(600, 90), 1, 30, 41),
        ];
        foreach ((string name, Shape shape, int dim, int start, int length) in slices)
            yield return Moved("slice", name, [shape], t => Functional.Slice(t[0], dim, start, length), SliceSources(shape, dim, start, length));
    }

    /// <param name="op">Name of the op.</param>
    /// <param name="name">What the case is for.</param>
    /// <param name="shapes">Of the inputs.</param>
    /// <param name="run">The call.</param>
    /// <param name="sources">For each element of the output, the input and its element.</param>
    private static OpCase Moved(string op, string name, Shape[] shapes, Func<Tensor[], Tensor> run, (int Input, int Element)[] sources) => new()
    {
        Op = op,
        Kernels = [op is "reshape" or "transpose" ? "Transpose" : "Concat"],
        Name = name,
        Inputs = [.. shapes.Select((s, i) => CaseInput.Normal(s, (ulong)(i + 1)))],
        Run = run,
        Reference = x => [.. sources.Select(s => x[s.Input][s.Element])],
        ReferenceGradient = (x, g) =>
        {
            double[][] gradients = [.. x.Select(v => new double[v.Length])];
            for (int i = 0; i < g.Length; i++) gradients[sources[i].Input][sources[i].Element] += g[i];
            return gradients;
        },
        Forward = new(0, 0),
        Gradient = new(0, 0),
    };

    internal static (int, int)[] ConcatSources(Shape[] shapes, int dim)
    {
        if (dim < 0) dim += shapes[0].Rank;
        int outer = shapes[0].Sizes[..dim].ToArray().Aggregate(1, (a, b) => a * b);
        var sources = new List<(int, int)>();
        for (int o = 0; o < outer; o++)
            for (int t = 0; t < shapes.Length; t++)
            {
                int block = (int)shapes[t].Count / outer;
                for (int e = 0; e < block; e++) sources.Add((t, o * block + e));
            }
        return [.. sources];
    }

    internal static (int, int)[] SliceSources(Shape shape, int dim, int start, int length)
    {
        if (dim < 0) dim += shape.Rank;
        int inner = shape.Sizes[(dim + 1)..].ToArray().Aggregate(1, (a, b) => a * b);
        return [.. Enumerable.Range(0, (int)shape.Count).Where(e => e / inner % shape[dim] >= start && e / inner % shape[dim] < start + length).Select(e => (0, e))];
    }
}
