namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// s[i, j] = (a[i] · b[j]) / (‖a[i]‖ ‖b[j]‖), all pairs of rows: the product of the normalised rows. A row of zeros
    /// is similar to nothing: 0, with gradient 0.
    /// </summary>
    /// <param name="a">[N, D].</param>
    /// <param name="b">[M, D].</param>
    /// <returns>[N, M], in [−1, 1] up to rounding.</returns>
    /// <exception cref="ArgumentException">The rows have different lengths.</exception>
    public static Tensor CosineSimilarity(Tensor a, Tensor b)
    {
        const string Op = "cosine-similarity";
        Check.SameDevice(Op, a, b);
        Check.Rank(Op, a, 2);
        Check.Rank(Op, b, 2);
        Check.That(a.Shape[1] == b.Shape[1], $"{Op}: a has shape {a.Shape}, b {b.Shape}; their rows must have one length.");
        using Tensor left = L2Normalize(a);
        if (ReferenceEquals(a, b)) return MatMul(left, left, transposeB: true);
        using Tensor right = L2Normalize(b);
        return MatMul(left, right, transposeB: true);
    }
}
