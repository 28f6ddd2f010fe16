using KernelContrast.Augment;
using KernelContrast.Cli.Plots;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;
using KernelContrast.Training;

namespace KernelContrast.Cli.Demo;

/// <summary>The demo's pictures: what the encoder is shown, how training went, and where the digits end up.</summary>
internal sealed class DemoPictures(string directory, IImageDataset train, IImageDataset test)
{
    private const int SpacePoints = 2000;

    internal void Views(SimClrConfig config) => ViewSheet.Save(Path.Combine(directory, "views.png"), train, [.. Enumerable.Range(0, 10)],
        AugmentPreset.Get(config.Augmentation), config.Seed, "Two views of one digit are a pair; all others are what it is not");

    internal void Training(IReadOnlyList<EpochReport> reports, SimClrConfig config)
    {
        double[] epochs = [.. reports.Select(r => (double)r.Epoch)];
        TrainingCurve Curve(string title, Func<EpochReport, double> value, (string, double)? reference = null) =>
            new(title, epochs, [.. reports.Select(value)], reference);
        TrainingPlot.Save(Path.Combine(directory, "training.png"),
        [
            Curve("loss (NT-Xent)", r => r.Loss, ("collapsed", Math.Log(2.0 * config.BatchSize - 1))),
            Curve("alignment of pairs", r => r.Health?.Alignment ?? double.NaN),
            Curve("uniformity", r => r.Health?.Uniformity ?? double.NaN),
            Curve("spread of embeddings", r => r.Health?.Spread ?? double.NaN),
            Curve("dimensions in use (RankMe)", r => r.Health?.RankMe ?? double.NaN),
            Curve("learning rate", r => r.LearningRate),
        ]);
    }

    internal void Space(DemoComparison comparison)
    {
        int[] some = [.. Enumerable.Range(0, Math.Min(SpacePoints, test.Count))];
        SpacePanel Panel(string title, FeatureMatrix features) =>
            new(title, $"t-SNE of {some.Length:N0} test digits; colours are the labels, which training never saw", TSne.Embed(features.Take(some)).Points);
        SpacePlot.Save(Path.Combine(directory, "space.png"),
            [Panel("Before training", comparison.RandomTest), Panel("After training", comparison.LearnedTest)],
            [.. some.Select(i => comparison.TestLabels[i])], test.ClassNames);
    }
}
