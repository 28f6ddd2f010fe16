using System.Text.Json;
using KernelContrast.Datasets;
using KernelContrast.Nn;
using KernelContrast.Training;
using SkiaSharp;

namespace KernelContrast.Cli.Tests;

/// <summary>The verbs that read a run, on one that was trained for a moment.</summary>
[TestFixture]
internal sealed class TrainedEncoderTests
{
    private const int TrainImages = 120, TestImageCount = 60, Classes = 6, Features = 12;
    private readonly TemporaryFolder _folder = new();
    private string _run = "", _data = "";

    [OneTimeSetUp]
    public void Train()
    {
        (_run, _data) = (_folder["run"], _folder["data"]);
        TestImages.WriteIdx(_data, TrainImages, TestImageCount, Classes);
        var config = new SimClrConfig
        {
            Encoder = ResNetConfig.Small(8, 4, 8, Features) with { Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection, InputChannels = 1 },
            Augmentation = "digits",
            BatchSize = 40,
            Epochs = 2,
            HeadOutputs = 8,
        };
        using SimClrTrainer trainer = SimClrTrainer.Start(config, Dataset.Open(_data), _run);
        trainer.Run();
    }

    [OneTimeTearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public void Evaluate_prints_a_table_of_three_rows_and_json_of_the_same_numbers()
    {
        Tool table = Tool.Run("evaluate", _run, "--data", _data, "--labels-per-class", "3", "--draws", "2");
        Assert.That(table.ExitCode, Is.Zero, table.Error);
        Assert.That(table.Output, Does.Contain("60 test images of 6 classes; 120 training images"));
        Tool json = Tool.Run("evaluate", Path.Combine(_run, Checkpoint.FileName), "--data", _data, "--labels-per-class", "3", "--draws", "2", "--json");
        JsonElement root = JsonDocument.Parse(json.Output).RootElement;
        Assert.That(root.GetProperty("epoch").GetInt32(), Is.EqualTo(2));
        Assert.That(root.GetProperty("testImages").GetInt32(), Is.EqualTo(60));
        foreach ((string key, string name) in new[] { ("raw", "raw pixels"), ("random", "untrained encoder"), ("learned", "learned") })
        {
            string[] row = [.. table.Output.Split('\n').Single(l => l.StartsWith(name, StringComparison.Ordinal))[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)];
            Assert.That(double.Parse(row[0]), Is.EqualTo(root.GetProperty(key).GetProperty("knn").GetDouble()).Within(0.051));
            Assert.That(double.Parse(row[1]), Is.EqualTo(root.GetProperty(key).GetProperty("linear").GetDouble()).Within(0.051));
            Assert.That(double.Parse(row[2]), Is.EqualTo(root.GetProperty(key).GetProperty("few").GetDouble()).Within(0.051));
        }
        // A bright square at one of six places: anything tells them apart but noise.
        Assert.That(root.GetProperty("raw").GetProperty("knn").GetDouble(), Is.GreaterThan(95));
        Tool alone = Tool.Run("evaluate", _run, "--data", _data, "--no-baselines", "--json");
        Assert.That(JsonDocument.Parse(alone.Output).RootElement.TryGetProperty("raw", out _), Is.False);
    }

    [Test]
    public void Embed_writes_the_same_features_in_both_formats_and_the_labels()
    {
        string npy = _folder["e.npy"], labels = _folder["l.npy"], tensors = _folder["e.safetensors"];
        Tool run = Tool.Run("embed", _run, "--data", _data, "--out", npy, "--labels", labels);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.Trim(), Is.EqualTo($"Wrote {npy}: {TestImageCount} images, {Features} numbers each."));
        Assert.That(Tool.Run("embed", _run, "--data", _data, "--split", "test", "--out", tensors).ExitCode, Is.Zero);
        NpyArray array = NpyFile.Read(npy);
        Assert.That((array.Shape[0], array.Shape[1]), Is.EqualTo((TestImageCount, Features)));
        Dictionary<string, Tensor> read = Safetensors.Read(tensors);
        Assert.That(read["embeddings"].ToArray(), Is.EqualTo(array.ToSingles()));
        int[] expected = [.. Enumerable.Range(0, TestImageCount).Select(i => i % Classes)];
        Assert.That(read["labels"].ToArray<int>(), Is.EqualTo(expected));
        Assert.That(NpyFile.Read(labels).ToInt32s(), Is.EqualTo(expected));
        Assert.That(array.ToSingles().Distinct().Count(), Is.GreaterThan(50));

        // What the library itself gives.
        using ResNet encoder = Checkpoint.Open(_run).LoadEncoder();
        float[] own = Evaluation.Embedder.Embed(encoder, Dataset.Open(_data, Split.Test), batchSize: 7).Values;
        Assert.That(array.ToSingles(), Is.EqualTo(own).Within(1e-4));

        Assert.That(Tool.Run("embed", _run, "--data", _data, "--split", "train", "--out", npy).ExitCode, Is.Zero);
        Assert.That(NpyFile.Read(npy).Shape[0], Is.EqualTo(TrainImages));
    }

    /// <summary>Everything that reads a run takes its averaged encoder where there is one, and the last step's when asked.</summary>
    [Test]
    public void A_run_with_an_average_is_read_by_its_average()
    {
        string run = _folder["averaged"], average = _folder["a.npy"], last = _folder["z.npy"];
        Tool trained = Tool.Run("pretrain", "--data", _data, "--preset", "digits", "--widths", "4", "8", $"{Features}", "--head-outputs", "8", "--epochs", "2", "--batch-size", "40",
            "--lr", "0.02", "--ema", "0.9", "--out", run);
        Assert.That(trained.ExitCode, Is.Zero, trained.Error);
        Assert.That(Checkpoint.Open(run).Config.EmaDecay, Is.EqualTo(0.9));
        Assert.That(Tool.Run("embed", run, "--data", _data, "--out", average).ExitCode, Is.Zero);
        Assert.That(Tool.Run("embed", run, "--data", _data, "--out", last, "--no-ema").ExitCode, Is.Zero);
        Assert.That(NpyFile.Read(average).ToSingles(), Is.EqualTo(Own(last: false)).Within(1e-4));
        Assert.That(NpyFile.Read(last).ToSingles(), Is.EqualTo(Own(last: true)).Within(1e-4));
        Assert.That(NpyFile.Read(last).ToSingles(), Is.Not.EqualTo(NpyFile.Read(average).ToSingles()).Within(1e-3));

        Assert.That(Evaluate("--json"), Does.Contain("\"averaged\":true"));
        Assert.That(Evaluate("--json", "--no-ema"), Does.Contain("\"averaged\":false"));
        Assert.That(Evaluate(), Does.Contain("learned, averaged"));
        Assert.That(Evaluate("--no-ema"), Does.Contain("learned").And.Not.Contain("averaged"));
        Assert.That(Tool.Run("plot", run, "--data", _data, "--method", "pca", "--no-ema", "--out", _folder["last.png"]).ExitCode, Is.Zero);
        Assert.That(Tool.Run("plot", run, "--data", _data, "--method", "pca", "--out", _folder["averaged.png"]).ExitCode, Is.Zero);
        Assert.That(File.ReadAllBytes(_folder["last.png"]), Is.Not.EqualTo(File.ReadAllBytes(_folder["averaged.png"])));
        // of a run without one there is only the last
        Assert.That(Tool.Run("embed", _run, "--data", _data, "--out", last, "--no-ema").ExitCode, Is.Zero);

        Tool.Refuses(["pretrain", "--data", _data, "--resume", run, "--ema", "0.99"], "--ema differs");
        Tool.Refuses(["pretrain", "--data", _data, "--ema", "1", "--out", _folder["x"]], "averaged encoder", "not 1");
        Tool.Refuses(["plot", "--embeddings", average, "--no-ema"], "--no-ema belong to a run");

        string Evaluate(params string[] more)
        {
            Tool tool = Tool.Run(["evaluate", run, "--data", _data, "--no-baselines", "--labels-per-class", "3", "--draws", "2", .. more]);
            Assert.That(tool.ExitCode, Is.Zero, tool.Error);
            return tool.Output;
        }

        float[] Own(bool last)
        {
            using ResNet encoder = Checkpoint.Open(run).LoadEncoder(last: last);
            return Evaluation.Embedder.Embed(encoder, Dataset.Open(_data, Split.Test), batchSize: 7).Values;
        }
    }

    [TestCase("tsne")]
    [TestCase("pca")]
    public void Plot_draws_a_run_beside_its_beginning_or_a_file(string method)
    {
        string one = _folder[$"{method}-1.png"], two = _folder[$"{method}-2.png"], file = _folder[$"{method}-3.png"], plain = _folder[$"{method}-4.png"];
        Tool run = Tool.Run("plot", _run, "--data", _data, "--method", method, "--perplexity", "10", "--count", "50", "--out", one);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.Trim(), Is.EqualTo($"Wrote {one}: 50 points."));
        Assert.That(Tool.Run("plot", _run, "--data", _data, "--method", method, "--perplexity", "10", "--compare", "--out", two).ExitCode, Is.Zero);
        string npy = _folder[$"{method}.npy"], labels = _folder[$"{method}-labels.npy"];
        Assert.That(Tool.Run("embed", _run, "--data", _data, "--out", npy, "--labels", labels).ExitCode, Is.Zero);
        Assert.That(Tool.Run("plot", "--embeddings", npy, "--labels", labels, "--method", method, "--perplexity", "10", "--out", file).ExitCode, Is.Zero);
        Assert.That(Tool.Run("plot", "--embeddings", npy, "--method", method, "--out", plain).ExitCode, Is.Zero);
        using SKBitmap single = SKBitmap.Decode(one), pair = SKBitmap.Decode(two), fromFile = SKBitmap.Decode(file), grey = SKBitmap.Decode(plain);
        Assert.That(pair.Width, Is.GreaterThan(1.8 * single.Width));
        Assert.That(Colours(fromFile), Is.GreaterThan(500));
        Assert.That(Colours(grey), Is.LessThan(50));

        static int Colours(SKBitmap bitmap) => bitmap.Pixels.Count(p => Math.Max(p.Red, Math.Max(p.Green, p.Blue)) - Math.Min(p.Red, Math.Min(p.Green, p.Blue)) > 60);
    }

    [Test]
    public void Images_that_are_not_divided_have_every_fifth_held_out_and_are_embedded_whole()
    {
        string alone = _folder["alone"];
        Directory.CreateDirectory(alone);
        foreach (string file in Directory.GetFiles(_data, "train-*")) File.Copy(file, Path.Combine(alone, Path.GetFileName(file)), overwrite: true);
        Tool run = Tool.Run("evaluate", _run, "--data", alone, "--no-baselines", "--json");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Error, Does.Contain("24 in all, is held out"));
        JsonElement root = JsonDocument.Parse(run.Output).RootElement;
        Assert.That((root.GetProperty("trainImages").GetInt32(), root.GetProperty("testImages").GetInt32()), Is.EqualTo((96, 24)));
        Tool single = Tool.Run("evaluate", _run, "--data", Path.Combine(alone, "train-images-idx3-ubyte"), "--no-baselines", "--json");
        Assert.That(single.Output, Is.EqualTo(run.Output));
        Assert.That(Tool.Run("embed", _run, "--data", alone, "--out", _folder["whole.npy"]).Output, Does.Contain("120 images"));
        Tool.Refuses(["embed", _run, "--data", alone, "--split", "test", "--out", _folder["x.npy"]], "test part");
    }

    [Test]
    public void What_cannot_be_is_refused_in_one_line()
    {
        Tool.Refuses(["evaluate"], "RUN");
        Tool.Refuses(["evaluate", _folder["nowhere"], "--data", _data], "nowhere", "no checkpoint");
        Tool.Refuses(["evaluate", _run], "--data");
        Tool.Refuses(["evaluate", _run, "--data", _folder["no-data"]], "no-data");
        Tool.Refuses(["evaluate", _run, "--data", _data, "--k", "0"], "--k is 0");
        Tool.Refuses(["evaluate", _run, "--data", _data, "--temperature", "0"], "--temperature is 0");
        Tool.Refuses(["evaluate", _run, "--data", _data, "--draws", "-1"], "--draws is -1");
        string unlabelled = _folder["unlabelled"];
        TestImages.WriteIdx(unlabelled, 10, 10, 2, labels: false);
        Tool.Refuses(["evaluate", _run, "--data", unlabelled], "no labels");
        Tool.Refuses(["evaluate", Path.Combine(_data, "train-images-idx3-ubyte"), "--data", _data], "train-images-idx3-ubyte");
        Tool.Refuses(["embed", _run, "--data", _data, "--out", _folder["x.csv"]], ".npy or .safetensors");
        Tool.Refuses(["embed", _run, "--data", _data, "--out", Path.Combine(_folder["no"], "x.npy")], "does not exist");
        Tool.Refuses(["plot"], "either a run");
        Tool.Refuses(["plot", _run], "--data is missing");
        Tool.Refuses(["plot", _run, "--data", _data, "--embeddings", "x.npy"], "either a run");
        Tool.Refuses(["plot", _run, "--data", _data, "--perplexity", "30"], "perplexity of 30");
        Tool.Refuses(["plot", _run, "--data", _data, "--count", "3"], "--count is 3");
        Tool.Refuses(["plot", "--embeddings", _folder["none.npy"]], "none.npy");
        Tool.Refuses(["plot", "--embeddings", _folder["none.npy"], "--compare"], "--compare");
        string rows = _folder["rows.npy"], labels = _folder["three.npy"];
        NpyFile.Write(rows, new float[40], new Shape(10, 4));
        NpyFile.Write(labels, new int[3], new Shape(3));
        Tool.Refuses(["plot", "--embeddings", rows, "--labels", labels], "10 classes", "found 3");

        string colour = _folder["colour"];
        Directory.CreateDirectory(colour);
        WriteColour(Path.Combine(colour, "red"), new SKColor(255, 0, 0));
        WriteColour(Path.Combine(colour, "blue"), new SKColor(0, 0, 255));
        Tool.Refuses(["embed", _run, "--data", colour, "--out", _folder["x.npy"]], "1 channel", "have 3");
    }

    private static void WriteColour(string folder, SKColor colour)
    {
        Directory.CreateDirectory(folder);
        using var bitmap = new SKBitmap(28, 28);
        bitmap.Erase(colour);
        using SKData png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(Path.Combine(folder, "a.png"), png.ToArray());
    }
}
