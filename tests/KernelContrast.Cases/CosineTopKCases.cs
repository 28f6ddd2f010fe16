namespace KernelContrast.Cases;

/// <summary>
/// The output of a case is, per query, k similarities and k indices or, where rounding may exchange neighbours, in an
/// index's place the key's exact similarity: of two keys whose similarities differ by rounding either may come first.
/// </summary>
internal sealed class CosineTopKCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Random("one pair", 1, 1, 3, 1);
        yield return Random("one query, k = m", 1, 33, 7, 33);
        yield return Random("ragged, D = 1", 33, 257, 1, 5);
        yield return Random("ragged, D = 7", 33, 65, 7, 3);
        yield return Random("ragged, D = 64", 65, 129, 64, 20);
        yield return Random("self left out", 70, 70, 19, 8, excludeSelf: true);
        yield return Random("self left out, k = m - 1", 17, 17, 5, 16, excludeSelf: true);
        yield return Random("more queries than keys", 257, 33, 100, 33);
        yield return Random("more keys than rows, D = 128", 33, 513, 128, 20);
        yield return Random("D = 768", 33, 65, 768, 4);
        yield return Random("D = 2047", 5, 33, 2047, 33);
        yield return Random("k = 200", 9, 513, 16, 200);
        yield return Random("few queries, many keys", 3, 4099, 5, 11);
        yield return Random("huge against tiny norms", 33, 67, 9, 7, queryScale: 1e18, keyScale: 1e-18);
        yield return Random("subnormal against largest norms", 5, 9, 8, 3, queryScale: 1e-41, keyScale: 1e38);
        // Rows of few directions, each exact in float32 at any length: what is equal is equal, and indices are exact.
        yield return Exact("duplicates, ties by index", 33, 257, 40, excludeSelf: false);
        yield return Exact("duplicates, self left out", 70, 70, 30, excludeSelf: true);
        yield return Exact("duplicates, k = m", 9, 65, 65, excludeSelf: false);
        yield return NotFinite("rows that are not finite come first", excludeSelf: false);
        yield return NotFinite("rows that are not finite, self left out", excludeSelf: true);
    }

    private static OpCase Random(string name, int queries, int keys, int dim, int k, bool excludeSelf = false, double queryScale = 1, double keyScale = 1) => new()
    {
        Op = "cosine-top-k",
        Name = name,
        Inputs = excludeSelf ? [CaseInput.Normal(new(queries, dim), 1)]
            : [CaseInput.Normal(new(queries, dim), 1, queryScale), CaseInput.Normal(new(keys, dim), 2, keyScale)],
        Run = t => Output(t, k, excludeSelf, exact: false),
        Reference = x => Reference(x, dim, k, excludeSelf, exact: false),
        Forward = new(1e-6, 0, 2e-6),
        CheckGradient = false,
    };

    private static OpCase Exact(string name, int queries, int keys, int k, bool excludeSelf)
    {
        // Every row is one of eight directions along axes or diagonals, times a power of two; every ninth is zero.
        CaseInput Rows(int rows, int seed) => CaseInput.Of(new(rows, 4), [.. Enumerable.Range(0, rows).SelectMany(i =>
        {
            int direction = (i * 7 + seed) % 9;
            double length = Math.Pow(2, (i * 5 + seed) % 7 - 3);
            return Enumerable.Range(0, 4).Select(d => direction == 8 ? 0 : (direction < 4 ? d == direction ? 1 : 0 : d / 2 == direction % 2 || direction > 5 ? 1 - 2 * (d * direction / 3 % 2) : 0) * length);
        })]);
        return new()
        {
            Op = "cosine-top-k",
            Name = name,
            Inputs = excludeSelf ? [Rows(queries, 3)] : [Rows(queries, 3), Rows(keys, 5)],
            Run = t => Output(t, k, excludeSelf, exact: true),
            Reference = x => Reference(x, 4, k, excludeSelf, exact: true),
            Forward = new(0, 0, 1e-6),
            CheckGradient = false,
        };
    }

    private static OpCase NotFinite(string name, bool excludeSelf)
    {
        CaseInput rows = Exact("", 70, 70, 1, true).Inputs[0];
        foreach (int row in new[] { 3, 4, 66, 69 }) rows.Values[4 * row + row % 4] = row % 2 == 0 ? double.NaN : double.NegativeInfinity;
        return new()
        {
            Op = "cosine-top-k",
            Name = name,
            Inputs = [rows],
            Run = t => Output(t, 12, excludeSelf, exact: true),
            Reference = x => Reference(x, 4, 12, excludeSelf, exact: true),
            Forward = new(0, 0, 1e-6),
            CheckGradient = false,
        };
    }

    private static Tensor Output(Tensor[] t, int k, bool excludeSelf, bool exact)
    {
        Tensor queries = t[0], keys = t[^1];
        (Tensor indices, Tensor similarities) = Functional.CosineTopK(queries, keys, k, excludeSelf);
        int rows = queries.Shape[0], dim = queries.Shape[1];
        int[] index = indices.ToArray<int>();
        float[] similarity = similarities.ToArray(), q = queries.ToArray(), s = keys.ToArray();
        var output = new float[2 * rows * k];
        for (int row = 0; row < rows; row++)
            for (int i = 0; i < k; i++)
            {
                int j = index[row * k + i];
                bool known = j >= 0 && j < keys.Shape[0];
                output[2 * row * k + i] = similarity[row * k + i];
                // An index given twice, or self, is as wrong as one that is none.
                known &= !index.AsSpan(row * k, i).Contains(j) && !(excludeSelf && j == row);
                output[(2 * row + 1) * k + i] = !known ? -7 : exact ? j : (float)Cosine(q, row, s, j, dim);
            }
        return Tensor.From<float>(output, new(rows, 2 * k), queries.Device);
    }

    private static double[] Reference(double[][] x, int dim, int k, bool excludeSelf, bool exact)
    {
        float[] q = Array.ConvertAll(x[0], v => (float)v), s = Array.ConvertAll(x[^1], v => (float)v);
        var output = new List<double>();
        for (int row = 0; row < q.Length / dim; row++)
        {
            // NaN as infinity, and what is equal up to float64's rounding as equal: ties are then by index.
            (double Similarity, int Index)[] best = [.. Enumerable.Range(0, s.Length / dim).Where(j => !(excludeSelf && j == row))
                .Select(j => (Similarity: Cosine(q, row, s, j, dim), Index: j))
                .OrderByDescending(c => double.IsNaN(c.Similarity) ? double.PositiveInfinity : Math.Round(c.Similarity, 12)).ThenBy(c => c.Index).Take(k)];
            output.AddRange(best.Select(c => c.Similarity));
            output.AddRange(best.Select(c => exact ? c.Index : c.Similarity));
        }
        return [.. output];
    }

    private static double Cosine(float[] a, int i, float[] b, int j, int dim)
    {
        double dot = 0, aa = 0, bb = 0;
        for (int d = 0; d < dim; d++)
        {
            double x = a[i * dim + d], y = b[j * dim + d];
            (dot, aa, bb) = (dot + x * y, aa + x * x, bb + y * y);
        }
        double lengths = Math.Sqrt(aa) * Math.Sqrt(bb);
        return double.IsFinite(lengths) ? lengths == 0 ? 0 : dot / lengths : double.NaN;
    }
}
