using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class SymmetricEigenTests
{
    [Test]
    public void Values_of_the_second_difference_matrix_are_known([Values(1, 2, 3, 17, 64)] int n)
    {
        var matrix = new double[n * n];
        for (int i = 0; i < n; i++)
        {
            matrix[i * n + i] = 2;
            if (i > 0) matrix[i * n + i - 1] = matrix[(i - 1) * n + i] = -1;
        }
        double[] expected = [.. Enumerable.Range(1, n).Select(k => 2 - 2 * Math.Cos(k * Math.PI / (n + 1))).OrderDescending()];
        Assert.That(SymmetricEigen.Values(matrix, n), Is.EqualTo(expected).Within(1e-13));
    }

    [Test]
    public void Values_survive_sizes_far_from_one([Values(1e-150, 1, 1e150)] double scale)
    {
        double[] matrix = [2 * scale, 1 * scale, 0, 1 * scale, 2 * scale, 0, 0, 0, 5 * scale];
        double[] values = SymmetricEigen.Values(matrix, 3);
        Assert.That(values.Select(v => v / scale), Is.EqualTo(new[] { 5.0, 3, 1 }).Within(1e-13));
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(5)]
    [TestCase(40)]
    [TestCase(131)]
    public void A_dense_matrix_is_put_together_again_from_its_parts(int n)
    {
        double[] matrix = RandomSymmetric(n, rank: n);
        (double[] values, double[] vectors) = SymmetricEigen.Decompose(matrix, n);
        AssertParts(matrix, n, values, vectors);
        Assert.That(SymmetricEigen.Values(matrix, n), Is.EqualTo(values).Within(1e-12 * n));
    }

    [Test]
    public void Low_rank_gives_zeros_and_still_an_orthonormal_basis()
    {
        double[] matrix = RandomSymmetric(30, rank: 3);
        (double[] values, double[] vectors) = SymmetricEigen.Decompose(matrix, 30);
        AssertParts(matrix, 30, values, vectors);
        Assert.That(values[2], Is.GreaterThan(0.1));
        Assert.That(values.Skip(3).Select(Math.Abs), Is.All.LessThan(1e-12));
    }

    [Test]
    public void Many_values_that_are_zero_but_for_rounding_converge()
    {
        // As the covariance of images with empty pixels, made in float: 40 directions, every third row and column 0.
        const int N = 150;
        var random = new Random(1);
        var matrix = new double[N * N];
        for (int k = 0; k < 40; k++)
        {
            double[] v = [.. Enumerable.Range(0, N).Select(i => i % 3 == 0 ? 0 : random.NextDouble())];
            for (int i = 0; i < N; i++)
                for (int j = 0; j < N; j++) matrix[i * N + j] += v[i] * v[j];
        }
        for (int i = 0; i < matrix.Length; i++) matrix[i] = (float)(matrix[i] / 1000);
        (double[] values, double[] vectors) = SymmetricEigen.Decompose(matrix, N);
        AssertParts(matrix, N, values, vectors);
    }

    [Test]
    public void Repeated_values_the_zero_matrix_and_a_diagonal_matrix()
    {
        foreach (double[] diagonal in new double[][] { [0, 0, 0, 0], [3, 3, 1, 3], [-2, 7, 0, 1e-3] })
        {
            var matrix = new double[16];
            for (int i = 0; i < 4; i++) matrix[5 * i] = diagonal[i];
            (double[] values, double[] vectors) = SymmetricEigen.Decompose(matrix, 4);
            Assert.That(values, Is.EqualTo(diagonal.OrderDescending()).Within(1e-15));
            AssertParts(matrix, 4, values, vectors);
        }
        Assert.That(SymmetricEigen.Values([], 0), Is.Empty);
    }

    [Test]
    public void Wrong_sizes_and_values_that_are_not_finite_are_refused()
    {
        Assert.That(() => SymmetricEigen.Values(new double[5], 2), Throws.ArgumentException.With.Message.Contains("4 elements"));
        Assert.That(() => SymmetricEigen.Decompose([1, double.NaN, double.NaN, 1], 2), Throws.ArgumentException.With.Message.Contains("NaN"));
    }

    private static double[] RandomSymmetric(int n, int rank)
    {
        var random = new PhiloxStream(7, (ulong)n);
        var matrix = new double[n * n];
        for (int r = 0; r < rank; r++)
        {
            double[] v = [.. Enumerable.Range(0, n).Select(_ => (double)random.NextNormal() / Math.Sqrt(n))];
            double sign = rank == n && r % 2 == 1 ? -1 : 1;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) matrix[i * n + j] += sign * v[i] * v[j];
        }
        return matrix;
    }

    private static void AssertParts(double[] matrix, int n, double[] values, double[] vectors)
    {
        double worst = 0;
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = 0, dot = 0;
                for (int k = 0; k < n; k++)
                {
                    sum += values[k] * vectors[k * n + i] * vectors[k * n + j];
                    dot += vectors[i * n + k] * vectors[j * n + k];
                }
                worst = Math.Max(worst, Math.Abs(sum - matrix[i * n + j]));
                worst = Math.Max(worst, Math.Abs(dot - (i == j ? 1 : 0)));
            }
        }
        Assert.That(worst, Is.LessThan(1e-12));
        Assert.That(values, Is.Ordered.Descending);
    }
}
