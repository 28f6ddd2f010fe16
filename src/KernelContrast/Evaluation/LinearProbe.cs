using System.Numerics.Tensors;

namespace KernelContrast.Evaluation;

/// <summary>How a <see cref="LinearProbe"/> is fitted.</summary>
public sealed record LinearProbeOptions
{
    /// <summary>
    /// The strengths λ of λ/2·‖W‖² that are tried, any order; the one with the lowest cross-entropy on held-out
    /// training images is taken. One value is used as it is.
    /// </summary>
    public IReadOnlyList<double> Regularisations { get; init; } = [1, 0.1, 0.01, 1e-3, 1e-4, 1e-5];

    /// <summary>
    /// Number of parts of the training images that are held out in turn while λ is chosen; 1 holds out a tenth once.
    /// </summary>
    public int Folds { get; init; } = 1;

    /// <summary>Most L-BFGS iterations per fit.</summary>
    public int MaxIterations { get; init; } = 200;

    /// <summary>Shuffles the training images before some are held out.</summary>
    public ulong Seed { get; init; }
}

/// <summary>
/// Linear evaluation: multinomial logistic regression on frozen features, whose accuracy on test images says how much
/// of the classes lies in them linearly.
/// </summary>
/// <remarks>
/// Features are standardised with the training set's mean and deviation (a column's deviation is taken as at least 1 %
/// of the largest, so that a pixel lit in a few images is not blown up). Cross-entropy plus λ/2·‖W‖², biases free, is
/// minimised by full-batch L-BFGS to convergence: no learning rate to be tuned in favour of anyone. λ is chosen per
/// representation on held-out training images, then the probe is fitted again on all of them, as in Radford et al.
/// 2021 (CLIP), appendix A.3. Deterministic: the same for any number of threads.
/// </remarks>
public sealed class LinearProbe
{
    private const double Tolerance = 1e-5;
    private const double LeastDeviation = 0.01;

    private readonly float[] _weights, _biases;

    private LinearProbe(float[] weights, float[] biases, int dim, double regularisation)
    {
        (_weights, _biases, Dim, Regularisation) = (weights, biases, dim, regularisation);
    }

    /// <summary>Columns of the features it reads.</summary>
    public int Dim { get; }

    /// <summary>Number of classes.</summary>
    public int Classes => _biases.Length;

    /// <summary>The λ it was fitted with.</summary>
    public double Regularisation { get; }

    /// <summary>Fits a probe.</summary>
    /// <param name="features">[N, D] training features, from an encoder in eval mode.</param>
    /// <param name="labels">[N] classes in [0, classes).</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <exception cref="ArgumentException">Labels do not fit, there are no rows, or a feature is not finite.</exception>
    public static LinearProbe Fit(FeatureMatrix features, int[] labels, int classes, LinearProbeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(features);
        ArgumentNullException.ThrowIfNull(labels);
        options ??= new LinearProbeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Folds, 1);
        if (options.Regularisations.Count == 0 || options.Regularisations.Any(r => !(r >= 0 && double.IsFinite(r))))
            throw new ArgumentException("The linear probe needs at least one regularisation, each finite and not negative.");
        if (features.Rows == 0) throw new ArgumentException("The linear probe needs at least one training image.");
        features.CheckLabels("linear probe", labels, classes);
        features.CheckFinite("linear probe");

        (float[] mean, float[] scale) = Standardisation(features);
        using PaddedMatrix x = Standardised(features, mean, scale);
        int[] all = [.. Enumerable.Range(0, x.Rows)];
        double[] strengths = [.. options.Regularisations.OrderDescending()];
        double chosen = strengths.Length == 1 ? strengths[0] : Choose(x, labels, classes, strengths, options);

        using var objective = new LogisticObjective(x, all, labels, classes);
        var parameters = new double[objective.Parameters];
        // The path from strong to weak regularisation leads to the minimum faster than a start at zero does.
        foreach (double strength in strengths.Where(s => s >= chosen)) Minimise(objective, parameters, strength, options);
        return FromStandardised(parameters, classes, mean, scale, chosen);
    }

    /// <summary>The class of each row: the highest logit, the lowest class among equals.</summary>
    public int[] Predict(FeatureMatrix features)
    {
        if (features.Dim != Dim)
            throw new ArgumentException($"The probe was fitted on features of {Dim} columns, these have {features.Dim}.");
        features.CheckFinite("linear probe");
        var classes = new int[features.Rows];
        Device.Cpu.Workers.ForRanges(features.Rows, 64, (from, to) =>
        {
            Span<float> logits = new float[Classes];
            for (int row = (int)from; row < to; row++)
            {
                for (int c = 0; c < logits.Length; c++)
                    logits[c] = TensorPrimitives.Dot(features.Row(row), _weights.AsSpan(c * Dim, Dim)) + _biases[c];
                classes[row] = TensorPrimitives.IndexOfMax<float>(logits);
            }
        });
        return classes;
    }

    /// <summary>The share, in [0, 1], of rows whose predicted class is their label.</summary>
    public double Accuracy(FeatureMatrix features, int[] labels)
    {
        features.CheckLabels("linear probe", labels, Classes);
        return Evaluation.Accuracy.Of(Predict(features), labels);
    }

    private static (float[] Mean, float[] Scale) Standardisation(FeatureMatrix features)
    {
        int dim = features.Dim;
        double[] sum = new double[dim], squares = new double[dim];
        for (int row = 0; row < features.Rows; row++)
        {
            ReadOnlySpan<float> x = features.Row(row);
            for (int d = 0; d < dim; d++) sum[d] += x[d];
        }
        for (int d = 0; d < dim; d++) sum[d] /= features.Rows;
        for (int row = 0; row < features.Rows; row++)
        {
            ReadOnlySpan<float> x = features.Row(row);
            for (int d = 0; d < dim; d++) squares[d] += (x[d] - sum[d]) * (x[d] - sum[d]);
        }
        double[] deviation = [.. squares.Select(s => Math.Sqrt(s / features.Rows))];
        double least = LeastDeviation * deviation.Max();
        float[] scale = [.. deviation.Select(s => s > 0 || least > 0 ? (float)(1 / Math.Max(s, least)) : 0f)];
        return ([.. sum.Select(s => (float)s)], scale);
    }

    private static unsafe PaddedMatrix Standardised(FeatureMatrix features, float[] mean, float[] scale)
    {
        var x = new PaddedMatrix(features.Rows, features.Dim);
        Device.Cpu.Workers.ForRanges(features.Rows, 64, (from, to) =>
        {
            for (int row = (int)from; row < to; row++)
            {
                var standardised = new Span<float>(x.Row(row), features.Dim);
                TensorPrimitives.Subtract(features.Row(row), mean, standardised);
                TensorPrimitives.Multiply(standardised, scale, standardised);
            }
        });
        return x;
    }

    /// <summary>The strength with the lowest mean cross-entropy on the rows held out; the stronger among equals.</summary>
    private static double Choose(PaddedMatrix x, int[] labels, int classes, double[] strengths, LinearProbeOptions options)
    {
        int[] shuffled = [.. Enumerable.Range(0, x.Rows)];
        Sampling.Shuffle(shuffled, new PhiloxStream(options.Seed, stream: 0x9F0BE));
        // Sorted by class, every n-th row: each part holds the same share of every class.
        int[] byClass = [.. shuffled.OrderBy(row => labels[row])];
        int parts = options.Folds == 1 ? 10 : options.Folds;
        var loss = new double[strengths.Length];
        for (int fold = 0; fold < options.Folds; fold++)
        {
            int[] held = [.. byClass.Where((_, i) => i % parts == fold)];
            int[] kept = [.. byClass.Where((_, i) => i % parts != fold)];
            if (held.Length == 0 || kept.Length == 0) return strengths[0];
            using var training = new LogisticObjective(x, kept, labels, classes);
            using var validation = new LogisticObjective(x, held, labels, classes);
            var parameters = new double[training.Parameters];
            var unused = new double[training.Parameters];
            double best = double.PositiveInfinity;
            for (int s = 0; s < strengths.Length; s++)
            {
                Minimise(training, parameters, strengths[s], options);
                double here = validation.Evaluate(parameters, unused, regularisation: 0);
                loss[s] += here;
                best = Math.Min(best, here);
                // Clearly past the best: weaker ones only overfit more, and are the slowest to fit.
                if (options.Folds == 1 && here > 1.005 * best)
                {
                    loss.AsSpan(s + 1).Fill(double.PositiveInfinity);
                    break;
                }
            }
        }
        return strengths[loss.AsSpan().IndexOf(loss.Min())];
    }

    private static void Minimise(LogisticObjective objective, double[] parameters, double strength, LinearProbeOptions options) =>
        Lbfgs.Minimise((point, gradient) => objective.Evaluate(point, gradient, strength), parameters, options.MaxIterations, Tolerance);

    /// <summary>Folds the standardisation into the weights: w·(x − mean)·scale + b.</summary>
    private static LinearProbe FromStandardised(double[] parameters, int classes, float[] mean, float[] scale, double regularisation)
    {
        int dim = mean.Length;
        var weights = new float[classes * dim];
        var biases = new float[classes];
        for (int c = 0; c < classes; c++)
        {
            double bias = parameters[classes * dim + c];
            for (int d = 0; d < dim; d++)
            {
                double weight = parameters[c * dim + d] * scale[d];
                weights[c * dim + d] = (float)weight;
                bias -= weight * mean[d];
            }
            biases[c] = (float)bias;
        }
        return new LinearProbe(weights, biases, dim, regularisation);
    }
}
