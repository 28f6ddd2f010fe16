namespace KernelContrast.Evaluation;

/// <summary>
/// The weighted k-nearest-neighbour classifier of contrastive learning: the k training images with the highest cosine
/// similarity s vote for their class with weight exp(s / τ). Nothing is fitted.
/// </summary>
/// <remarks>Wu, Xiong, Yu, Lin: "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018, section 3.4.</remarks>
public static class WeightedKnn
{
    /// <summary>
    /// Neighbours that vote. Wu et al. took 200; 20 does better for most features (Caron et al. 2021, DINO), raw pixels
    /// among them, and so makes the comparison fair.
    /// </summary>
    public const int DefaultK = 20;

    /// <summary>τ of the votes, as in Wu et al.</summary>
    public const float DefaultTemperature = 0.07f;

    /// <summary>The class of each query; the lowest among equals.</summary>
    /// <param name="train">[M, D] features with known classes.</param>
    /// <param name="labels">[M] classes in [0, classes).</param>
    /// <param name="queries">[N, D].</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="k">Neighbours that vote; all M when there are fewer.</param>
    /// <param name="temperature">τ, above 0.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, or a feature is not finite.</exception>
    public static int[] Predict(FeatureMatrix train, ReadOnlySpan<int> labels, FeatureMatrix queries, int classes,
        int k = DefaultK, float temperature = DefaultTemperature)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        if (!(temperature > 0 && float.IsFinite(temperature)))
            throw new ArgumentException($"The temperature of the kNN votes is above 0, not {temperature}.");
        train.CheckLabels("kNN", labels, classes);
        Neighbors neighbors = NearestNeighbors.Find(train, queries, k);
        var predicted = new int[queries.Rows];
        var votes = new double[classes];
        for (int query = 0; query < predicted.Length; query++)
        {
            Array.Clear(votes);
            ReadOnlySpan<float> similarities = neighbors.Similarities.AsSpan(query * neighbors.K, neighbors.K);
            ReadOnlySpan<int> indices = neighbors.Indices.AsSpan(query * neighbors.K, neighbors.K);
            // Relative to the nearest, so that a small temperature does not overflow.
            for (int i = 0; i < indices.Length; i++)
                votes[labels[indices[i]]] += Math.Exp((similarities[i] - similarities[0]) / (double)temperature);
            predicted[query] = votes.AsSpan().IndexOf(votes.Max());
        }
        return predicted;
    }

    /// <summary>The share, in [0, 1], of test images that are given their class.</summary>
    /// <inheritdoc cref="Predict"/>
    public static double Accuracy(FeatureMatrix train, ReadOnlySpan<int> trainLabels, FeatureMatrix test, ReadOnlySpan<int> testLabels,
        int classes, int k = DefaultK, float temperature = DefaultTemperature)
    {
        test.CheckLabels("kNN", testLabels, classes);
        return Evaluation.Accuracy.Of(Predict(train, trainLabels, test, classes, k, temperature), testLabels);
    }
}
