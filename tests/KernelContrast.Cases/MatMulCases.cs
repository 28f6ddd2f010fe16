namespace KernelContrast.Cases;

internal sealed class MatMulCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", 1, 1, 1, false, false, 1);
        yield return Case("inner size 1", 5, 7, 1, false, false, 2);
        yield return Case("a row times a matrix", 1, 37, 19, false, false, 3);
        yield return Case("a matrix times a column", 37, 1, 19, false, false, 4);
        yield return Case("ragged", 17, 35, 23, false, false, 5);
        yield return Case("ragged, a transposed", 17, 35, 23, true, false, 6);
        yield return Case("ragged, b transposed", 17, 35, 23, false, true, 7);
        yield return Case("ragged, both transposed", 17, 35, 23, true, true, 8);
        yield return Case("whole tiles", 28, 64, 16, false, false, 9);
        // Every number of rows of a last tile, in one output or another.
        for (int rows = 2; rows <= 15; rows++) yield return Case($"{rows} rows", rows, 19, 5, rows % 2 == 0, rows % 3 == 0, (ulong)(10 + rows));
        yield return Case("several blocks of the inner size", 15, 33, 801, false, false, 30);
        yield return Case("several blocks of the inner size, transposed", 15, 33, 801, true, true, 31);
        yield return Case("several blocks of rows", 467, 9, 13, false, true, 32);
        yield return Case("several blocks of columns", 3, 4135, 5, false, false, 33);
    }

    internal static OpCase Case(string name, int m, int n, int k, bool transposeA, bool transposeB, ulong seed) => new()
    {
        Op = "matmul",
        Name = name,
        Inputs =
        [
            CaseInput.Normal(transposeA ? new(k, m) : new(m, k), seed),
            CaseInput.Normal(transposeB ? new(n, k) : new(k, n), seed + 1000),
        ],
        Run = t => Functional.MatMul(t[0], t[1], transposeA, transposeB),
        Reference = x => Product(Transposed(x[0], k, m, transposeA), Transposed(x[1], n, k, transposeB), m, n, k),
        ReferenceGradient = (x, gradC) =>
        {
            double[] a = Transposed(x[0], k, m, transposeA), b = Transposed(x[1], n, k, transposeB);
            double[] gradA = Product(gradC, Transposed(b, k, n, true), m, k, n);
            double[] gradB = Product(Transposed(a, m, k, true), gradC, k, n, m);
            return [Transposed(gradA, m, k, transposeA), Transposed(gradB, k, n, transposeB)];
        },
    };

    /// <summary>[m,k]·[k,n].</summary>
    internal static double[] Product(double[] a, double[] b, int m, int n, int k)
    {
        var c = new double[m * n];
        for (int i = 0; i < m; i++)
            for (int l = 0; l < k; l++)
                for (int j = 0; j < n; j++) c[i * n + j] += a[i * k + l] * b[l * n + j];
        return c;
    }

    /// <summary>A [rows, columns] matrix as [columns, rows], when asked.</summary>
    internal static double[] Transposed(double[] matrix, int rows, int columns, bool transpose)
    {
        if (!transpose) return matrix;
        var result = new double[matrix.Length];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j];
        return result;
    }
}
