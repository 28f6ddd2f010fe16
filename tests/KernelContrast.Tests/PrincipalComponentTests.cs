using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class PrincipalComponentTests
{
    // Orthogonal directions of known length: coordinate c of row i is deviation[c]·(±1 by bit c of i), moved off the
    // origin, then rotated. Variance along direction c is deviation² · N / (N − 1).
    private static readonly double[] Deviations = [4, 2, 0.5];

    [TestCase(3)]
    [TestCase(40)]
    public void Known_directions_and_variances_are_found_with_more_rows_and_with_more_columns(int dim)
    {
        double[][] basis = Basis(dim);
        const int Rows = 16;
        var values = new float[Rows * dim];
        for (int i = 0; i < Rows; i++)
            for (int d = 0; d < dim; d++)
                values[i * dim + d] = (float)(10 + Enumerable.Range(0, 3).Sum(c => Deviations[c] * ((i >> c & 1) == 0 ? 1 : -1) * basis[c][d]));
        PrincipalComponents components = PrincipalComponents.Fit(new FeatureMatrix(values, Rows, dim), 3);

        Assert.That(components.Variances, Is.EqualTo(Deviations.Select(s => s * s * Rows / (Rows - 1))).Within(1e-4));
        Assert.That(components.TotalVariance, Is.EqualTo(components.Variances.Sum()).Within(1e-4));
        for (int c = 0; c < 3; c++)
        {
            double dot = 0;
            for (int d = 0; d < dim; d++) dot += components.Direction(c)[d] * basis[c][d];
            Assert.That(Math.Abs(dot), Is.EqualTo(1).Within(1e-5), $"direction {c}");
        }
        FeatureMatrix projected = components.Project(new FeatureMatrix(values, Rows, dim));
        for (int i = 0; i < Rows; i++)
            for (int c = 0; c < 3; c++)
                Assert.That(Math.Abs(projected.Row(i)[c]), Is.EqualTo(Deviations[c]).Within(1e-4));
    }

    [Test]
    public void No_more_components_are_found_than_there_are_rows_or_columns_and_no_variance_is_no_trouble()
    {
        Assert.That(PrincipalComponents.Fit(new FeatureMatrix([1, 2, 3, 4, 5, 7], 3, 2), 5).Count, Is.EqualTo(2));
        foreach (int dim in new[] { 2, 9 })
        {
            var constant = new FeatureMatrix([.. Enumerable.Repeat(7f, 4 * dim)], 4, dim);
            PrincipalComponents components = PrincipalComponents.Fit(constant, 2);
            Assert.That(components.Variances, Is.All.Zero);
            Assert.That(components.Project(constant).Values, Is.All.Zero);
        }
    }

    [Test]
    public void What_does_not_fit_together_is_refused()
    {
        Assert.That(() => PrincipalComponents.Fit(new FeatureMatrix([1], 1, 1), 1), Throws.ArgumentException.With.Message.Contains("2 rows"));
        Assert.That(() => PrincipalComponents.Fit(new FeatureMatrix([1, float.NaN], 2, 1), 1), Throws.ArgumentException.With.Message.Contains("row 1"));
        PrincipalComponents fitted = PrincipalComponents.Fit(new FeatureMatrix([1, 2], 2, 1), 1);
        Assert.That(() => fitted.Project(new FeatureMatrix([1, 2], 1, 2)), Throws.ArgumentException.With.Message.Contains("2"));
    }

    private static double[][] Basis(int dim)
    {
        var random = new PhiloxStream(5, (ulong)dim);
        var basis = new double[3][];
        for (int c = 0; c < 3; c++)
        {
            double[] v = [.. Enumerable.Range(0, dim).Select(_ => (double)random.NextNormal())];
            foreach (double[] earlier in basis.Take(c))
            {
                double dot = v.Zip(earlier, (a, b) => a * b).Sum();
                for (int d = 0; d < dim; d++) v[d] -= dot * earlier[d];
            }
            double norm = Math.Sqrt(v.Sum(a => a * a));
            basis[c] = [.. v.Select(a => a / norm)];
        }
        return basis;
    }
}
