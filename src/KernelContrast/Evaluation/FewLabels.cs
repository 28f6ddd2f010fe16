namespace KernelContrast.Evaluation;

/// <summary>Accuracy of linear probes that saw only a few labels.</summary>
/// <param name="Mean">Mean over the draws, in [0, 1].</param>
/// <param name="Deviation">Standard deviation over the draws; 0 for a single one.</param>
/// <param name="Draws">Accuracy of each draw.</param>
public sealed record FewLabelsResult(double Mean, double Deviation, IReadOnlyList<double> Draws);

/// <summary>
/// Semi-supervised evaluation: linear probes fitted on n labelled images per class, drawn several times by seed.
/// </summary>
public static class FewLabels
{
    /// <summary>
    /// λ is chosen by cross-validation within the labelled images alone (5 folds, or n where there are fewer): the
    /// other labels are not looked at.
    /// </summary>
    private static LinearProbeOptions Options(int perClass, ulong seed) => new()
    {
        Regularisations = [10, 1, 0.1, 0.01, 1e-3],
        Folds = Math.Clamp(perClass, 2, 5),
        MaxIterations = 100,
        Seed = seed,
    };

    /// <summary>Fits and tests a probe per draw.</summary>
    /// <param name="train">[M, D] features of the images that labels are drawn from.</param>
    /// <param name="trainLabels">[M] classes in [0, classes).</param>
    /// <param name="test">[N, D].</param>
    /// <param name="testLabels">[N].</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="perClass">Labelled images per class; all of a class that has fewer.</param>
    /// <param name="draws">How often other images are drawn.</param>
    /// <param name="seed">Which images; the same for every representation with the same seed.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, or a feature is not finite.</exception>
    public static FewLabelsResult Evaluate(FeatureMatrix train, int[] trainLabels, FeatureMatrix test, int[] testLabels, int classes,
        int perClass = 10, int draws = 5, ulong seed = 0)
    {
        ArgumentNullException.ThrowIfNull(train);
        ArgumentNullException.ThrowIfNull(trainLabels);
        ArgumentNullException.ThrowIfNull(test);
        ArgumentNullException.ThrowIfNull(testLabels);
        ArgumentOutOfRangeException.ThrowIfLessThan(perClass, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(draws, 1);
        train.CheckSameDim(test, "training", "test");
        train.CheckLabels("few labels", trainLabels, classes);
        test.CheckLabels("few labels", testLabels, classes);
        var accuracies = new double[draws];
        for (int draw = 0; draw < draws; draw++)
        {
            int[] drawn = Draw(trainLabels, classes, perClass, seed, draw);
            LinearProbe probe = LinearProbe.Fit(train.Take(drawn), [.. drawn.Select(i => trainLabels[i])], classes, Options(perClass, seed));
            accuracies[draw] = probe.Accuracy(test, testLabels);
        }
        double mean = accuracies.Average();
        double deviation = draws == 1 ? 0 : Math.Sqrt(accuracies.Sum(a => (a - mean) * (a - mean)) / (draws - 1));
        return new FewLabelsResult(mean, deviation, accuracies);
    }

    /// <summary>Indices of <paramref name="perClass"/> images of each class, in the order of their classes.</summary>
    internal static int[] Draw(int[] labels, int classes, int perClass, ulong seed, int draw)
    {
        int[] shuffled = [.. Enumerable.Range(0, labels.Length)];
        Sampling.Shuffle(shuffled, new PhiloxStream(seed, stream: 0xFE30000u + (uint)draw));
        var taken = new int[classes];
        return [.. shuffled.Where(i => taken[labels[i]]++ < perClass).OrderBy(i => labels[i])];
    }
}
