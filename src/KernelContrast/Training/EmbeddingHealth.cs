using System.Numerics.Tensors;
using KernelContrast.Evaluation;

namespace KernelContrast.Training;

/// <summary>What embeddings look like, seen without labels.</summary>
/// <param name="Spread">
/// Standard deviation of the unit-length embeddings, averaged over dimensions, times √D: about 1 when they fill the
/// sphere, 0 when all are one point (Chen, He: "Exploring simple Siamese representation learning", 2021, section 4.1).
/// </param>
/// <param name="Alignment">Mean squared distance of the two unit-length embeddings of an image: 0 is best.</param>
/// <param name="Uniformity">
/// ln of the mean of exp(−2·squared distance) over pairs of different images: 0 when all are one point, −4 when they
/// fill a sphere of many dimensions.
/// </param>
/// <param name="RankMe">
/// exp of the entropy of the features' normalised singular values: how many dimensions are in use, at most their number.
/// </param>
/// <remarks>
/// Alignment and uniformity: Wang, Isola, ICML 2020 (α = 2, t = 2). RankMe: Garrido, Balestriero, Najman, LeCun, ICML 2023,
/// of the encoder's features, not centred.
/// </remarks>
public sealed record EmbeddingHealth(double Spread, double Alignment, double Uniformity, double RankMe)
{
    /// <summary>Measures embeddings of two views of the same images.</summary>
    /// <param name="first">[N, D], row-major, of any length per row: views of images 0 … N−1.</param>
    /// <param name="second">[N, D]: other views of the same images.</param>
    /// <param name="dim">D.</param>
    /// <param name="features">[N, F]: the encoder's features of the first views.</param>
    /// <param name="featureDim">F.</param>
    /// <exception cref="ArgumentException">The lengths do not fit together, or there are fewer than two images.</exception>
    public static EmbeddingHealth Measure(ReadOnlySpan<float> first, ReadOnlySpan<float> second, int dim, ReadOnlySpan<float> features, int featureDim)
    {
        int rows = first.Length / dim;
        if (rows < 2 || first.Length != rows * dim || second.Length != first.Length || features.Length != rows * featureDim)
            throw new ArgumentException($"Expected two views of at least two images, but got {first.Length} and {second.Length} values of {dim} each, and {features.Length} of {featureDim}.");
        float[] z = Normalised(first, dim), other = Normalised(second, dim);
        return new(SpreadOf(z, dim), AlignmentOf(z, other, rows), UniformityOf(z, rows, dim), RankMeOf(features, featureDim));
    }

    private static float[] Normalised(ReadOnlySpan<float> values, int dim)
    {
        float[] z = values.ToArray();
        for (int i = 0; i < z.Length; i += dim)
        {
            Span<float> row = z.AsSpan(i, dim);
            float largest = MathF.Abs(TensorPrimitives.MaxMagnitude<float>(row));
            if (largest == 0) continue;
            TensorPrimitives.Divide(row, largest, row);
            TensorPrimitives.Divide(row, TensorPrimitives.Norm<float>(row), row);
        }
        return z;
    }

    private static double SpreadOf(float[] z, int dim)
    {
        int rows = z.Length / dim;
        double sum = 0;
        for (int d = 0; d < dim; d++)
        {
            double mean = 0, square = 0;
            for (int i = d; i < z.Length; i += dim) mean += z[i];
            mean /= rows;
            for (int i = d; i < z.Length; i += dim) square += (z[i] - mean) * (z[i] - mean);
            sum += Math.Sqrt(square / rows);
        }
        return sum / dim * Math.Sqrt(dim);
    }

    private static double AlignmentOf(float[] z, float[] other, int rows)
    {
        double sum = 0;
        for (int i = 0; i < z.Length; i++) sum += ((double)z[i] - other[i]) * ((double)z[i] - other[i]);
        return sum / rows;
    }

    private static double UniformityOf(float[] z, int rows, int dim)
    {
        double sum = 0;
        for (int i = 1; i < rows; i++)
        {
            ReadOnlySpan<float> row = z.AsSpan(i * dim, dim);
            for (int j = 0; j < i; j++) sum += Math.Exp(-2 * (double)SquaredDistance(row, z.AsSpan(j * dim, dim)));
        }
        return Math.Log(sum / (rows * (rows - 1.0) / 2));

        static float SquaredDistance(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
        {
            float distance = TensorPrimitives.Distance(a, b);
            return distance * distance;
        }
    }

    /// <summary>RankMe of rows of features, [N, dim].</summary>
    /// <exception cref="ArgumentException">A value is not finite.</exception>
    public static double RankMeOf(ReadOnlySpan<float> features, int dim)
    {
        int rows = features.Length / dim;
        // The singular values are the roots of the eigenvalues of XᵀX, or of XXᵀ, whichever is smaller.
        double[] x = new double[features.Length];
        for (int row = 0; row < rows; row++)
            for (int d = 0; d < dim; d++)
                x[rows < dim ? row * dim + d : d * rows + row] = features[row * dim + d];
        int n = Math.Min(rows, dim), length = Math.Max(rows, dim);
        var gram = new double[n * n];
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++)
                gram[i * n + j] = gram[j * n + i] = TensorPrimitives.Dot(x.AsSpan(i * length, length), x.AsSpan(j * length, length));
        double[] singular = Array.ConvertAll(SymmetricEigen.Values(gram, n), value => Math.Sqrt(Math.Max(0, value)));
        double total = singular.Sum();
        if (total == 0) return 1;
        double entropy = 0;
        foreach (double value in singular)
        {
            double p = value / total + 1e-7;
            entropy -= p * Math.Log(p);
        }
        return Math.Exp(entropy);
    }
}
