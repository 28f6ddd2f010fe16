using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;
using KernelContrast.Nn;

namespace KernelContrast.Cli.Demo;

/// <summary>Raw pixels, an untrained encoder and the trained one, measured alike.</summary>
internal sealed class DemoComparison
{
    private readonly RepresentationScores _raw, _random, _learned;
    private readonly int[] _trainLabels;

    private DemoComparison(int[] trainLabels, int[] testLabels, RepresentationScores raw, RepresentationScores random, RepresentationScores learned)
    {
        (_trainLabels, TestLabels, _raw, _random, _learned) = (trainLabels, testLabels, raw, random, learned);
    }

    internal int[] TestLabels { get; }

    /// <summary>Features of the test images before training.</summary>
    internal required FeatureMatrix RandomTest { get; init; }

    /// <summary>And after.</summary>
    internal required FeatureMatrix LearnedTest { get; init; }

    private FeatureMatrix LearnedTrain { get; init; } = null!;

    internal static DemoComparison Measure(IImageDataset train, IImageDataset test, ResNet random, ResNet learned, Device device)
    {
        int[] trainLabels = train.Labels(), testLabels = test.Labels();
        RepresentationScores Scores(string name, FeatureMatrix of, FeatureMatrix at)
        {
            long start = Stopwatch.GetTimestamp();
            var scores = RepresentationScores.Measure(of, trainLabels, at, testLabels, train.ClassCount);
            Terminal.Line(string.Create(CultureInfo.InvariantCulture, $"{name}: {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s"));
            return scores;
        }
        FeatureMatrix Of(ResNet encoder, IImageDataset data) => Embedder.Embed(encoder, data, device: device);

        RepresentationScores raw = Scores("raw pixels", Embedder.Pixels(train), Embedder.Pixels(test));
        FeatureMatrix randomTest = Of(random, test), learnedTrain = Of(learned, train), learnedTest = Of(learned, test);
        return new(trainLabels, testLabels, raw, Scores("untrained encoder", Of(random, train), randomTest), Scores("trained encoder", learnedTrain, learnedTest))
        {
            RandomTest = randomTest,
            LearnedTest = learnedTest,
            LearnedTrain = learnedTrain,
        };
    }

    internal void Print() => Terminal.Table(["accuracy, %", "kNN", "linear", "10 labels per class"],
    [
        Row("raw pixels", _raw),
        Row("untrained encoder", _random),
        Row("trained without labels", _learned),
    ]);

    /// <summary>Features and labels: <c>embeddings</c>, <c>labels</c> of the test images, <c>train_…</c> of the others.</summary>
    internal void WriteEmbeddings(string directory)
    {
        using var scope = new TensorScope();
        Safetensors.Write(Path.Combine(directory, "embeddings.safetensors"),
        [
            KeyValuePair.Create(EmbeddingsFile.Key, Tensor.From<float>(LearnedTest.Values, new(LearnedTest.Rows, LearnedTest.Dim))),
            KeyValuePair.Create("labels", Tensor.From<int>(TestLabels, new(TestLabels.Length))),
            KeyValuePair.Create("train_embeddings", Tensor.From<float>(LearnedTrain.Values, new(LearnedTrain.Rows, LearnedTrain.Dim))),
            KeyValuePair.Create("train_labels", Tensor.From<int>(_trainLabels, new(_trainLabels.Length))),
        ]);
    }

    internal void WriteResult(string directory, Device device, double trainSeconds, double totalSeconds)
    {
        string line = JsonLine.Of(json =>
        {
            json.WriteString("device", device.Name);
            json.WriteStartObject("seconds");
            json.WriteNumber("train", Math.Round(trainSeconds, 2));
            json.WriteNumber("total", Math.Round(totalSeconds, 2));
            json.WriteEndObject();
            Write(json, "raw", _raw);
            Write(json, "random", _random);
            Write(json, "learned", _learned);
        });
        AtomicFile.Write(Path.Combine(directory, "result.json"), stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(line + "\n")));
    }

    private static void Write(Utf8JsonWriter json, string name, RepresentationScores scores)
    {
        json.WriteStartObject(name);
        json.WriteNumber("knn", Math.Round(100 * scores.Knn, 2));
        json.WriteNumber("linear", Math.Round(100 * scores.Linear, 2));
        json.WriteNumber("few", Math.Round(100 * scores.Few.Mean, 2));
        json.WriteEndObject();
    }

    private static string[] Row(string name, RepresentationScores scores) => [name, Percent(scores.Knn), Percent(scores.Linear), Percent(scores.Few.Mean)];

    private static string Percent(double share) => (100 * share).ToString("F1", CultureInfo.InvariantCulture);
}
