namespace KernelContrast.Evaluation;

/// <summary>What is measured, the same for every representation that is compared.</summary>
public sealed record EvaluationProtocol
{
    /// <summary>Neighbours that vote in kNN.</summary>
    public int K { get; init; } = WeightedKnn.DefaultK;

    /// <summary>τ of the kNN votes.</summary>
    public float Temperature { get; init; } = WeightedKnn.DefaultTemperature;

    /// <summary>Labelled images per class in the evaluation with few labels.</summary>
    public int LabelsPerClass { get; init; } = 10;

    /// <summary>How often those are drawn; the mean is reported.</summary>
    public int Draws { get; init; } = 5;

    /// <summary>Which images are drawn or held out.</summary>
    public ulong Seed { get; init; }
}

/// <summary>How good features are without the network that made them being touched: accuracies in [0, 1] on test images.</summary>
/// <param name="Knn">Weighted kNN with all training labels.</param>
/// <param name="Linear">Linear probe with all training labels.</param>
/// <param name="Few">Linear probe with a few labels per class.</param>
/// <param name="Regularisation">The λ the linear probe chose.</param>
public sealed record RepresentationScores(double Knn, double Linear, FewLabelsResult Few, double Regularisation)
{
    /// <summary>Measures a representation.</summary>
    /// <param name="train">[M, D] training features.</param>
    /// <param name="trainLabels">[M] classes in [0, classes).</param>
    /// <param name="test">[N, D] test features of the same encoder.</param>
    /// <param name="testLabels">[N].</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="protocol">Null for the defaults.</param>
    /// <exception cref="ArgumentException">The sizes do not fit together, there are no images, or a feature is not finite.</exception>
    public static RepresentationScores Measure(FeatureMatrix train, int[] trainLabels, FeatureMatrix test, int[] testLabels, int classes,
        EvaluationProtocol? protocol = null)
    {
        ArgumentNullException.ThrowIfNull(train);
        ArgumentNullException.ThrowIfNull(trainLabels);
        ArgumentNullException.ThrowIfNull(test);
        ArgumentNullException.ThrowIfNull(testLabels);
        protocol ??= new EvaluationProtocol();
        train.CheckSameDim(test, "training", "test");
        if (train.Rows == 0 || test.Rows == 0)
            throw new ArgumentException($"An evaluation needs training and test images, but there are {train.Rows} and {test.Rows}.");
        double knn = WeightedKnn.Accuracy(train, trainLabels, test, testLabels, classes, protocol.K, protocol.Temperature);
        LinearProbe probe = LinearProbe.Fit(train, trainLabels, classes, new LinearProbeOptions { Seed = protocol.Seed });
        FewLabelsResult few = FewLabels.Evaluate(train, trainLabels, test, testLabels, classes, protocol.LabelsPerClass, protocol.Draws, protocol.Seed);
        return new RepresentationScores(knn, probe.Accuracy(test, testLabels), few, probe.Regularisation);
    }
}
