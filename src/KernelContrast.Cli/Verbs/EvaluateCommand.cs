using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>evaluate</c>: what an encoder is worth, beside raw pixels and beside itself before training.</summary>
internal static class EvaluateCommand
{
    private sealed record Row(string Key, string Name, RepresentationScores Scores);

    internal static VerbCommand Create()
    {
        var run = TrainedEncoder.Argument();
        var data = new DataOptions();
        var k = new Option<int>("--k") { Description = "Neighbours that vote in kNN", HelpName = "N", DefaultValueFactory = _ => WeightedKnn.DefaultK };
        var temperature = new Option<float>("--temperature")
        {
            Description = "Votes weigh exp(similarity / T)",
            HelpName = "T",
            DefaultValueFactory = _ => WeightedKnn.DefaultTemperature,
        };
        var perClass = new Option<int>("--labels-per-class") { Description = "Labelled images per class, where few are used", HelpName = "N", DefaultValueFactory = _ => 10 };
        var draws = new Option<int>("--draws") { Description = "How often those few are drawn; the mean counts", HelpName = "N", DefaultValueFactory = _ => 5 };
        var seed = new Option<ulong>("--seed") { Description = "Of the draws", HelpName = "N" };
        var only = new Option<bool>("--no-baselines") { Description = "Leave out raw pixels and the untrained encoder" };
        var last = TrainedEncoder.LastOption();
        var json = new Option<bool>("--json") { Description = "Print one JSON object, accuracies in per cent" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("evaluate",
            "Measure frozen features on labelled images: weighted kNN, a linear probe, and a linear probe with few labels; beside raw pixels and the untrained encoder.",
            "kernelcontrast evaluate runs/digits --data data/mnist", "kernelcontrast evaluate artifacts/demo --data data/mnist --moved 1 --json")
        { run, k, temperature, perClass, draws, seed, only, last, json };
        data.AddTo(verb);
        device.AddTo(verb);
        verb.SetAction(parsed =>
        {
            var protocol = new EvaluationProtocol
            {
                K = AtLeastOne("--k", parsed.GetValue(k)),
                Temperature = parsed.GetValue(temperature) is var t && t > 0 && float.IsFinite(t) ? t : throw new UserError($"--temperature is {t}, expected a positive number within float32's range of 1.18E-38 to 3.4E+38."),
                LabelsPerClass = AtLeastOne("--labels-per-class", parsed.GetValue(perClass)),
                Draws = AtLeastOne("--draws", parsed.GetValue(draws)),
                Seed = parsed.GetValue(seed),
            };
            Device on = device.Open(parsed);
            using TrainedEncoder encoder = TrainedEncoder.Open(parsed.GetValue(run)!, on, parsed.GetValue(last));
            (IImageDataset train, IImageDataset test) = data.OpenBoth(parsed, encoder.CheckFits);
            List<Row> rows = [.. Measure(encoder, train, test, protocol, baselines: !parsed.GetValue(only))];
            if (parsed.GetValue(json)) Terminal.Line(Json(encoder, on, train, test, protocol, rows));
            else Print(train, test, protocol, rows);
            return 0;
        });
        return verb;
    }

    private static IEnumerable<Row> Measure(TrainedEncoder encoder, IImageDataset train, IImageDataset test, EvaluationProtocol protocol, bool baselines)
    {
        int[] trainLabels = train.Labels(), testLabels = test.Labels();
        // The encoder itself first: what is wrong with it is said before the others take their time.
        Row learned = Score("learned", encoder.IsAverage ? "learned, averaged" : "learned", encoder.Features);
        if (baselines)
        {
            yield return Score("raw", "raw pixels", encoder.Pixels);
            yield return Score("random", "untrained encoder", encoder.UntrainedFeatures);
        }
        yield return learned;

        Row Score(string key, string name, Func<IImageDataset, FeatureMatrix> features) => new(key, name,
            UserError.Check(() => RepresentationScores.Measure(features(train), trainLabels, features(test), testLabels, train.ClassCount, protocol)));
    }

    private static int AtLeastOne(string option, int value) => value >= 1 ? value : throw new UserError($"{option} is {value}, expected at least 1.");

    private static void Print(IImageDataset train, IImageDataset test, EvaluationProtocol protocol, IReadOnlyList<Row> rows)
    {
        Terminal.Line($"Accuracy in per cent on {test.Count} test images of {train.ClassCount} classes; {train.Count} training images.");
        Terminal.Table(["features", "kNN", "linear", $"{protocol.LabelsPerClass} labels per class"],
            [.. rows.Select(r => new[] { r.Name, Percent(r.Scores.Knn), Percent(r.Scores.Linear), $"{Percent(r.Scores.Few.Mean)} ± {Percent(r.Scores.Few.Deviation)}" })]);
    }

    private static string Percent(double share) => (100 * share).ToString("F1", CultureInfo.InvariantCulture);

    private static string Json(TrainedEncoder encoder, Device device, IImageDataset train, IImageDataset test, EvaluationProtocol protocol, IReadOnlyList<Row> rows) =>
        JsonLine.Of(json =>
        {
            json.WriteString("checkpoint", encoder.Checkpoint.Path);
            json.WriteNumber("epoch", encoder.Checkpoint.Epoch);
            json.WriteBoolean("averaged", encoder.IsAverage);
            json.WriteString("device", device.Name);
            json.WriteNumber("trainImages", train.Count);
            json.WriteNumber("testImages", test.Count);
            json.WriteNumber("k", protocol.K);
            json.WriteNumber("temperature", protocol.Temperature);
            json.WriteNumber("labelsPerClass", protocol.LabelsPerClass);
            json.WriteNumber("draws", protocol.Draws);
            foreach (Row row in rows) Write(json, row);
        });

    private static void Write(Utf8JsonWriter json, Row row)
    {
        json.WriteStartObject(row.Key);
        json.WriteNumber("knn", Math.Round(100 * row.Scores.Knn, 2));
        json.WriteNumber("linear", Math.Round(100 * row.Scores.Linear, 2));
        json.WriteNumber("few", Math.Round(100 * row.Scores.Few.Mean, 2));
        json.WriteNumber("fewDeviation", Math.Round(100 * row.Scores.Few.Deviation, 2));
        json.WriteNumber("regularisation", row.Scores.Regularisation);
        json.WriteEndObject();
    }
}
