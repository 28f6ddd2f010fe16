using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast.Evaluation;

/// <summary>How <see cref="TSne"/> runs.</summary>
public sealed record TSneOptions
{
    /// <summary>The effective number of neighbours of a point, above 1 and at most a third of the other points.</summary>
    public double Perplexity { get; init; } = 30;

    /// <summary>Gradient steps in all.</summary>
    public int Iterations { get; init; } = 1000;

    /// <summary>Factor on the affinities during the first steps, which lets clusters find each other.</summary>
    public double EarlyExaggeration { get; init; } = 12;

    /// <summary>Steps with that factor, and with momentum 0.5 in place of 0.8.</summary>
    public int ExaggeratedIterations { get; init; } = 250;

    /// <summary>Step length; null for max(50, N / (4·EarlyExaggeration)), which suits any N (Belkina et al. 2019).</summary>
    public double? LearningRate { get; init; }
}

/// <summary>A plane picture of features.</summary>
/// <param name="Points">[N, 2], centred.</param>
/// <param name="Divergence">KL(P ‖ Q) of the picture, in nats: lower keeps more neighbourhoods.</param>
public sealed record TSneResult(FeatureMatrix Points, double Divergence);

/// <summary>
/// Exact t-SNE: points in the plane whose neighbourhoods are those of the features. Memory and time per step grow with
/// N² (4 bytes per pair); meant for up to some 10,000 points.
/// </summary>
/// <remarks>
/// van der Maaten, Hinton: "Visualizing data using t-SNE", JMLR 9, 2008: p_j|i ∝ exp(−β_i ‖x_i − x_j‖²) with β_i such
/// that the row has the wanted perplexity, p_ij = (p_j|i + p_i|j) / 2N, q_ij ∝ (1 + ‖y_i − y_j‖²)⁻¹, gradient descent
/// on KL(P ‖ Q) with momentum and gains. Starts from the first two principal components scaled to a deviation of 1e-4
/// (Kobak, Berens 2019), so nothing is random: the picture is bit-identical for any number of threads.
/// </remarks>
public static class TSne
{
    private const int BisectionSteps = 64;
    private const double StartDeviation = 1e-4;

    /// <summary>Makes the picture.</summary>
    /// <param name="features">[N, D], at least 4 rows. Distances are Euclidean: normalise the rows first for cosine ones.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="progress">Called after each step with the number of steps done.</param>
    /// <exception cref="ArgumentException">Too few rows for the perplexity, an option out of range, or a feature is not finite.</exception>
    public static TSneResult Embed(FeatureMatrix features, TSneOptions? options = null, Action<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(features);
        options ??= new TSneOptions();
        Check(features, options);
        FeatureMatrix scaled = Scaled(features);
        using PaddedMatrix affinities = Affinities(scaled, options.Perplexity);
        using var plane = new Plane(Start(scaled));
        var descent = new Descent(plane, options.LearningRate ?? Math.Max(50, features.Rows / (4 * options.EarlyExaggeration)));
        for (int iteration = 0; iteration < options.Iterations; iteration++)
        {
            bool early = iteration < options.ExaggeratedIterations;
            plane.Gradient(affinities, early ? (float)options.EarlyExaggeration : 1);
            descent.Step(momentum: early ? 0.5f : 0.8f);
            progress?.Invoke(iteration + 1);
        }
        return new TSneResult(plane.Points(), plane.Divergence(affinities));
    }

    private static void Check(FeatureMatrix features, TSneOptions options)
    {
        if (features.Rows < 4) throw new ArgumentException($"t-SNE needs at least 4 points, not {features.Rows}.");
        double most = (features.Rows - 1) / 3.0;
        if (!(options.Perplexity >= 1 && options.Perplexity <= most))
            throw new ArgumentException(FormattableString.Invariant(
                $"A perplexity of {options.Perplexity} does not suit {features.Rows} points: choose one from 1 to {most:0.#}, or give more points."));
        ArgumentOutOfRangeException.ThrowIfNegative(options.Iterations);
        if (!(options.EarlyExaggeration >= 1) || options.LearningRate is <= 0 or double.NaN)
            throw new ArgumentException("t-SNE's exaggeration is at least 1 and its learning rate above 0.");
        features.CheckFinite("t-SNE");
    }

    /// <summary>The picture does not depend on the features' scale, but their squares must fit in a float.</summary>
    private static FeatureMatrix Scaled(FeatureMatrix features)
    {
        float largest = MathF.Abs(TensorPrimitives.MaxMagnitude<float>(features.Values));
        var scaled = new float[features.Values.Length];
        if (largest > 0) TensorPrimitives.Divide(features.Values, largest, scaled);
        return new FeatureMatrix(scaled, features.Rows, features.Dim);
    }

    /// <summary>p_ij, [N, N], symmetric, of sum 1, 0 on the diagonal.</summary>
    internal static unsafe PaddedMatrix Affinities(FeatureMatrix features, double perplexity)
    {
        int n = features.Rows;
        var p = new PaddedMatrix(n, n);
        Device.Cpu.Workers.ForRanges(n, 4, (from, to) =>
        {
            for (int i = (int)from; i < to; i++)
            {
                var row = new Span<float>(p.Row(i), n);
                for (int j = 0; j < n; j++)
                {
                    float distance = TensorPrimitives.Distance(features.Row(i), features.Row(j));
                    row[j] = distance * distance;
                }
                Conditional(row, i, perplexity);
            }
        });
        for (int i = 0; i < n; i++)
        {
            p.Row(i)[i] = 0;
            for (int j = 0; j < i; j++) p.Row(i)[j] = p.Row(j)[i] = (p.Row(i)[j] + p.Row(j)[i]) / (2f * n);
        }
        return p;
    }

    /// <summary>Replaces the squared distances of point <paramref name="self"/> by p_j|i, its precision found by bisection.</summary>
    private static void Conditional(Span<float> row, int self, double perplexity)
    {
        row[self] = float.PositiveInfinity;
        float nearest = TensorPrimitives.Min<float>(row);
        row[self] = nearest;
        double mean = (TensorPrimitives.Sum<float>(row) - (double)nearest) / (row.Length - 1);
        TensorPrimitives.Subtract(row, nearest, row);
        float[] weights = new float[row.Length];
        double wanted = Math.Log(perplexity), low = 0, high = double.PositiveInfinity;
        double precision = mean > nearest ? 1 / (mean - nearest) : 1, sum = 1;
        for (int step = 0; step < BisectionSteps; step++)
        {
            TensorPrimitives.Multiply(row, (float)-precision, weights);
            TensorPrimitives.Exp<float>(weights, weights);
            weights[self] = 0;
            sum = TensorPrimitives.Sum<float>(weights);
            // Entropy of w / Σw where w = exp(−β d): log Σw + β Σ(w d) / Σw.
            double entropy = Math.Log(sum) + precision * TensorPrimitives.Dot<float>(weights, row) / sum;
            if (Math.Abs(entropy - wanted) < 1e-5) break;
            if (entropy > wanted) low = precision; else high = precision;
            precision = double.IsInfinity(high) ? 2 * precision : (low + high) / 2;
        }
        TensorPrimitives.Multiply(weights, (float)(1 / sum), row);
    }

    private static FeatureMatrix Start(FeatureMatrix features)
    {
        PrincipalComponents components = PrincipalComponents.Fit(features, 2);
        FeatureMatrix projected = components.Project(features);
        var start = new float[2 * features.Rows];
        double scale = components.Variances[0] > 0 ? StartDeviation / Math.Sqrt(components.Variances[0]) : 0;
        for (int i = 0; i < features.Rows; i++)
        {
            // Points in one place would never part, and a set with one column has no second component.
            double spread = StartDeviation * 1e-3;
            start[2 * i] = (float)(projected.Row(i)[0] * scale + spread * Math.Cos(i));
            start[2 * i + 1] = (float)((components.Count > 1 ? projected.Row(i)[1] * scale : 0) + spread * Math.Sin(i));
        }
        return new FeatureMatrix(start, features.Rows, 2);
    }

    /// <summary>Momentum and gains: a gain grows while a coordinate's gradient keeps its sign and shrinks when it turns.</summary>
    private sealed class Descent(Plane plane, double learningRate)
    {
        private readonly float[] _velocity = new float[2 * plane.Count];
        private readonly float[] _gain = [.. Enumerable.Repeat(1f, 2 * plane.Count)];

        internal void Step(float momentum)
        {
            for (int axis = 0; axis < 2; axis++)
            {
                Span<float> y = plane.Coordinates(axis), gradient = plane.GradientOf(axis);
                Span<float> velocity = _velocity.AsSpan(axis * plane.Count, plane.Count), gain = _gain.AsSpan(axis * plane.Count, plane.Count);
                double sum = 0;
                for (int i = 0; i < y.Length; i++)
                {
                    bool turned = gradient[i] > 0 == velocity[i] > 0;
                    gain[i] = Math.Max(0.01f, turned ? gain[i] * 0.8f : gain[i] + 0.2f);
                    velocity[i] = momentum * velocity[i] - (float)learningRate * gain[i] * gradient[i];
                    sum += y[i] += velocity[i];
                }
                TensorPrimitives.Subtract(y, (float)(sum / y.Length), y);
            }
        }
    }

    /// <summary>The points of the picture, and what depends on them.</summary>
    internal sealed unsafe class Plane : IDisposable
    {
        // Behind the last point, so that the kernel has no tail: its weight to every point is 1e-30.
        private const float FarAway = 1e15f;

        private readonly PaddedMatrix _y, _gradient, _sums;

        internal Plane(FeatureMatrix start)
        {
            Count = start.Rows;
            _y = new PaddedMatrix(2, Count);
            _gradient = new PaddedMatrix(2, Count);
            _sums = new PaddedMatrix(3, Count);
            for (int axis = 0; axis < 2; axis++)
            {
                new Span<float>(_y.Row(axis), _y.Stride).Fill(FarAway);
                for (int i = 0; i < Count; i++) _y.Row(axis)[i] = start.Row(i)[axis];
            }
        }

        internal int Count { get; }

        internal Span<float> Coordinates(int axis) => new(_y.Row(axis), Count);

        internal Span<float> GradientOf(int axis) => new(_gradient.Row(axis), Count);

        internal FeatureMatrix Points()
        {
            var points = new float[2 * Count];
            for (int i = 0; i < Count; i++) (points[2 * i], points[2 * i + 1]) = (_y.Row(0)[i], _y.Row(1)[i]);
            return new FeatureMatrix(points, Count, 2);
        }

        /// <summary>
        /// ∂KL/∂y_i = 4 Σ_j (e·p_ij − q_ij) w_ij (y_i − y_j), w_ij = (1 + ‖y_i − y_j‖²)⁻¹, q = w / Z. A row is summed on
        /// its own, both forces in one pass, and divided by Z when that is known.
        /// </summary>
        internal void Gradient(PaddedMatrix affinities, float exaggeration)
        {
            Device.Cpu.Workers.ForRanges(Count, 16, (from, to) =>
            {
                switch (Simd.Bits)
                {
                    case 512: Forces<F512>(affinities, exaggeration, (int)from, (int)to); break;
                    case 256: Forces<F256>(affinities, exaggeration, (int)from, (int)to); break;
                    default: Forces<F128>(affinities, exaggeration, (int)from, (int)to); break;
                }
            });
            double z = 0;
            foreach (float weight in new ReadOnlySpan<float>(_sums.Row(2), Count)) z += weight;
            for (int axis = 0; axis < 2; axis++)
            {
                Span<float> gradient = GradientOf(axis);
                float* repulsion = _sums.Row(axis);
                for (int i = 0; i < Count; i++) gradient[i] = 4 * (gradient[i] - (float)(repulsion[i] / z));
            }
        }

        private void Forces<T>(PaddedMatrix affinities, float exaggeration, int from, int to) where T : struct, ISimd<T>
        {
            float* xs = _y.Row(0), ys = _y.Row(1);
            T one = T.Create(1);
            for (int i = from; i < to; i++)
            {
                float* p = affinities.Row(i);
                T x = T.Create(xs[i]), y = T.Create(ys[i]);
                T attractX = T.Zero, attractY = T.Zero, repelX = T.Zero, repelY = T.Zero, z = T.Zero;
                for (int j = 0; j < _y.Stride; j += T.Width)
                {
                    T dx = T.Sub(x, T.Load(xs + j)), dy = T.Sub(y, T.Load(ys + j));
                    T w = T.Div(one, T.Fma(dx, dx, T.Fma(dy, dy, one)));
                    T attract = T.Mul(T.Load(p + j), w), repel = T.Mul(w, w);
                    z = T.Add(z, w);
                    attractX = T.Fma(attract, dx, attractX);
                    attractY = T.Fma(attract, dy, attractY);
                    repelX = T.Fma(repel, dx, repelX);
                    repelY = T.Fma(repel, dy, repelY);
                }
                _gradient.Row(0)[i] = exaggeration * T.Sum(attractX);
                _gradient.Row(1)[i] = exaggeration * T.Sum(attractY);
                _sums.Row(0)[i] = T.Sum(repelX);
                _sums.Row(1)[i] = T.Sum(repelY);
                _sums.Row(2)[i] = T.Sum(z) - 1;
            }
        }

        /// <summary>KL(P ‖ Q) in double.</summary>
        internal double Divergence(PaddedMatrix affinities)
        {
            double z = 0, sum = 0, mass = 0;
            for (int i = 0; i < Count; i++)
            {
                for (int j = 0; j < i; j++)
                {
                    double dx = (double)_y.Row(0)[i] - _y.Row(0)[j], dy = (double)_y.Row(1)[i] - _y.Row(1)[j];
                    double w = 1 / (1 + dx * dx + dy * dy), p = affinities.Row(i)[j];
                    z += w;
                    if (p == 0) continue;
                    sum += p * Math.Log(p / w);
                    mass += p;
                }
            }
            return 2 * (sum + mass * Math.Log(2 * z));
        }

        public void Dispose()
        {
            _y.Dispose();
            _gradient.Dispose();
            _sums.Dispose();
        }
    }
}
