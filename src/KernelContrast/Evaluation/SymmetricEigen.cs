using System.Numerics.Tensors;

namespace KernelContrast.Evaluation;

/// <summary>
/// Eigenvalues and eigenvectors of a real symmetric matrix in double precision: Householder reduction to tridiagonal
/// form, then the implicit QL iteration with Wilkinson's shift. Single-threaded and deterministic; about 10·n³
/// operations with vectors, (4/3)·n³ without.
/// </summary>
/// <remarks>Golub, Van Loan: "Matrix Computations", sections 8.3.1 (reduction) and 8.3.5 (shift).</remarks>
public static class SymmetricEigen
{
    // Each eigenvalue takes two or three sweeps; this many means the input was not finite.
    private const int MostSweeps = 60;

    /// <summary>The eigenvalues, largest first.</summary>
    /// <param name="matrix">n × n, row-major; only its symmetric part is meaningful: the caller gives a symmetric one.</param>
    /// <param name="n">Rows and columns.</param>
    /// <exception cref="ArgumentException">The matrix has not n² elements, or holds NaN or infinity.</exception>
    public static double[] Values(ReadOnlySpan<double> matrix, int n)
    {
        (double[] diagonal, double[] beside, _) = Tridiagonalise(matrix, n);
        Diagonalise(diagonal, beside, vectors: null);
        Array.Sort(diagonal);
        Array.Reverse(diagonal);
        return diagonal;
    }

    /// <summary>The eigenvalues, largest first, and their eigenvectors of length 1.</summary>
    /// <param name="matrix">n × n, row-major and symmetric.</param>
    /// <param name="n">Rows and columns.</param>
    /// <returns>
    /// Vectors: n × n, row-major; <b>row</b> i belongs to value i. Each vector's sign is such that its component of
    /// largest magnitude is positive.
    /// </returns>
    /// <exception cref="ArgumentException">The matrix has not n² elements, or holds NaN or infinity.</exception>
    public static (double[] Values, double[] Vectors) Decompose(ReadOnlySpan<double> matrix, int n)
    {
        (double[] diagonal, double[] beside, double[] reflectors) = Tridiagonalise(matrix, n);
        double[] vectors = ProductOf(reflectors, n);
        Diagonalise(diagonal, beside, vectors);

        var order = new int[n];
        for (int i = 0; i < n; i++) order[i] = i;
        Array.Sort(order, (i, j) => diagonal[i] != diagonal[j] ? diagonal[j].CompareTo(diagonal[i]) : i.CompareTo(j));
        var values = new double[n];
        var sorted = new double[vectors.Length];
        for (int i = 0; i < n; i++)
        {
            values[i] = diagonal[order[i]];
            ReadOnlySpan<double> from = vectors.AsSpan(order[i] * n, n);
            Span<double> to = sorted.AsSpan(i * n, n);
            if (from[TensorPrimitives.IndexOfMaxMagnitude(from)] < 0) TensorPrimitives.Negate(from, to);
            else from.CopyTo(to);
        }
        return (values, sorted);
    }

    /// <summary>
    /// Finds Q with A = Q T Qᵀ, T tridiagonal. Q = H₀ H₁ …, H_k = I − 2 v_k v_kᵀ with v_k in row k of the result (zero up
    /// to column k; an all-zero row is no reflection).
    /// </summary>
    private static (double[] Diagonal, double[] Beside, double[] Reflectors) Tridiagonalise(ReadOnlySpan<double> matrix, int n)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        if (matrix.Length != (long)n * n)
            throw new ArgumentException($"A matrix of {n} × {n} has {(long)n * n} elements, but {matrix.Length} were given.");
        foreach (double element in matrix)
            if (!double.IsFinite(element)) throw new ArgumentException($"The matrix holds {element}; its eigenvalues are undefined.");

        double[] a = matrix.ToArray();
        var reflectors = new double[a.Length];
        var diagonal = new double[n];
        var beside = new double[n];
        var product = new double[n];
        for (int k = 0; k < n - 1; k++)
        {
            int rest = n - k - 1;
            diagonal[k] = a[k * n + k];
            Span<double> v = reflectors.AsSpan(k * n + k + 1, rest);
            a.AsSpan(k * n + k + 1, rest).CopyTo(v);
            double largest = Math.Abs(v[TensorPrimitives.IndexOfMaxMagnitude<double>(v)]);
            if (rest == 1 || largest == 0)
            {
                beside[k] = v[0];
                v.Clear();
                continue;
            }
            // Scaled, so that neither tiny nor huge entries leave the range of double when squared.
            TensorPrimitives.Divide(v, largest, v);
            double norm = TensorPrimitives.Norm<double>(v);
            double reflected = v[0] > 0 ? -norm : norm;
            beside[k] = reflected * largest;
            v[0] -= reflected;
            TensorPrimitives.Divide(v, TensorPrimitives.Norm<double>(v), v);

            // With p = A v and w = p − (vᵀp) v: H A H = A − 2 v wᵀ − 2 w vᵀ.
            Span<double> w = product.AsSpan(0, rest);
            for (int i = 0; i < rest; i++)
                w[i] = TensorPrimitives.Dot<double>(a.AsSpan((k + 1 + i) * n + k + 1, rest), v);
            TensorPrimitives.MultiplyAdd(v, -TensorPrimitives.Dot<double>(v, w), w, w);
            for (int i = 0; i < rest; i++)
            {
                Span<double> row = a.AsSpan((k + 1 + i) * n + k + 1, rest);
                TensorPrimitives.MultiplyAdd(w, -2 * v[i], row, row);
                TensorPrimitives.MultiplyAdd(v, -2 * w[i], row, row);
            }
        }
        if (n > 0) diagonal[n - 1] = a[n * n - 1];
        return (diagonal, beside, reflectors);
    }

    /// <summary>Qᵀ, so that a vector is a row.</summary>
    private static double[] ProductOf(double[] reflectors, int n)
    {
        var q = new double[reflectors.Length];
        for (int i = 0; i < n; i++) q[i * n + i] = 1;
        // Qᵀ = … H₁ H₀, built from its innermost factor: row r becomes row r − 2 (row r · v) v. Reflector k leaves the
        // rows and columns up to k as they are in the identity, so only the part below takes part.
        for (int k = n - 2; k >= 0; k--)
        {
            ReadOnlySpan<double> v = reflectors.AsSpan(k * n + k + 1, n - k - 1);
            if (!v.ContainsAnyExcept(0.0)) continue;
            for (int row = k + 1; row < n; row++)
            {
                Span<double> r = q.AsSpan(row * n + k + 1, n - k - 1);
                TensorPrimitives.MultiplyAdd(v, -2 * TensorPrimitives.Dot<double>(r, v), r, r);
            }
        }
        return q;
    }

    /// <summary>
    /// Leaves the eigenvalues of the tridiagonal matrix in <paramref name="d"/>; <paramref name="e"/>[i] couples i and
    /// i + 1. Rows of <paramref name="vectors"/> take every rotation.
    /// </summary>
    private static void Diagonalise(double[] d, double[] e, double[]? vectors)
    {
        int n = d.Length;
        // Couplings below the rounding of the whole matrix are none. Held against their two neighbours alone, those
        // between the eigenvalues that are zero but for rounding would never vanish.
        double negligible = 0;
        for (int i = 0; i < n; i++) negligible = Math.Max(negligible, 1.1e-16 * (Math.Abs(d[i]) + Math.Abs(e[i])));
        for (int low = 0; low < n; low++)
        {
            for (int sweep = 0; ; sweep++)
            {
                int high = low;
                while (high < n - 1 && Math.Abs(e[high]) > negligible) high++;
                if (high == low) break;
                if (sweep == MostSweeps)
                    throw new ArithmeticException("The eigenvalue iteration did not converge; scale the matrix to entries near 1.");
                Sweep(d, e, vectors, low, high);
            }
        }
    }

    /// <summary>One implicit QL sweep over the unreduced block [low, high], chasing the bulge upward from its end.</summary>
    private static void Sweep(double[] d, double[] e, double[]? vectors, int low, int high)
    {
        int n = d.Length;
        double half = (d[low + 1] - d[low]) / (2 * e[low]);
        double shift = d[low] - e[low] / (half + Math.CopySign(Hypotenuse(half, 1), half));
        double g = d[high] - shift, sine = 1, cosine = 1, moved = 0;
        for (int i = high - 1; i >= low; i--)
        {
            double f = sine * e[i], b = cosine * e[i];
            double length = Hypotenuse(f, g);
            e[i + 1] = length;
            if (length == 0)
            {
                // The bulge vanished: the block splits here, and the next sweep sees it.
                d[i + 1] -= moved;
                e[high] = 0;
                return;
            }
            sine = f / length;
            cosine = g / length;
            g = d[i + 1] - moved;
            double t = (d[i] - g) * sine + 2 * cosine * b;
            moved = sine * t;
            d[i + 1] = g + moved;
            g = cosine * t - b;
            if (vectors is not null) Rotate(vectors.AsSpan(i * n, n), vectors.AsSpan((i + 1) * n, n), cosine, sine);
        }
        d[low] -= moved;
        e[low] = g;
        e[high] = 0;
    }

    /// <summary>(lower, upper) becomes (c·lower − s·upper, s·lower + c·upper).</summary>
    private static void Rotate(Span<double> lower, Span<double> upper, double c, double s)
    {
        int i = 0, width = System.Numerics.Vector<double>.Count;
        var cosine = new System.Numerics.Vector<double>(c);
        var sine = new System.Numerics.Vector<double>(s);
        for (; i + width <= lower.Length; i += width)
        {
            var x = new System.Numerics.Vector<double>(lower[i..]);
            var y = new System.Numerics.Vector<double>(upper[i..]);
            (cosine * x - sine * y).CopyTo(lower[i..]);
            (sine * x + cosine * y).CopyTo(upper[i..]);
        }
        for (; i < lower.Length; i++)
            (lower[i], upper[i]) = (c * lower[i] - s * upper[i], s * lower[i] + c * upper[i]);
    }

    private static double Hypotenuse(double x, double y)
    {
        double big = Math.Max(Math.Abs(x), Math.Abs(y)), small = Math.Min(Math.Abs(x), Math.Abs(y));
        return big == 0 ? 0 : big * Math.Sqrt(1 + small / big * (small / big));
    }
}
