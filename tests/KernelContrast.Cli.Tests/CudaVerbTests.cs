using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary>Every verb that computes, on the emulated CUDA device: it works, and gives what the CPU gives.</summary>
[TestFixture]
internal sealed class CudaVerbTests
{
    private const string Cuda = "cuda-emulated";

    private TemporaryFolder _folder = null!;

    private string Data => _folder["images"];

    private string Run => _folder["run"];

    [OneTimeSetUp]
    public void Train()
    {
        _folder = new TemporaryFolder();
        TestImages.WriteIdx(Data, train: 48, test: 24, classes: 4);
        Tool run = Tool.Run("pretrain", "--data", Data, "--preset", "digits", "--widths", "4", "8", "8", "--head-outputs", "16", "--epochs", "2",
            "--batch-size", "16", "--device", Cuda, "--out", Run);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Contain(Cuda));
    }

    [OneTimeTearDown]
    public void RemoveFolder() => _folder.Dispose();

    [Test]
    public void Pretrain_and_resume_take_the_cpus_steps()
    {
        Assert.That(Tool.Run("pretrain", "--data", Data, "--preset", "digits", "--widths", "4", "8", "8", "--head-outputs", "16", "--epochs", "2",
            "--batch-size", "16", "--out", _folder["cpu"]).ExitCode, Is.Zero);
        double[] expected = Losses(_folder["cpu"]), actual = Losses(Run);
        Assert.That(expected, Has.Length.EqualTo(2));
        Assert.That(actual, Is.EqualTo(expected).Within(1e-3));
        Tool resumed = Tool.Run("pretrain", "--data", Data, "--resume", Run, "--device", Cuda);
        Assert.That(resumed.ExitCode, Is.Zero, resumed.Error);

        static double[] Losses(string run) =>
        [
            .. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Where(l => l.Contains("\"rankMe\""))
                .Select(l => JsonDocument.Parse(l).RootElement.GetProperty("loss").GetDouble()),
        ];
    }

    [Test]
    public void Evaluate_gives_the_cpus_accuracies()
    {
        string[] lines = [.. new[] { "cpu", Cuda }.Select(device =>
        {
            Tool run = Tool.Run("evaluate", Run, "--data", Data, "--labels-per-class", "3", "--draws", "2", "--json", "--device", device);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            return Numbers(JsonDocument.Parse(run.Output).RootElement);
        })];
        Assert.That(lines[0], Does.Contain("knn"));
        Assert.That(lines[1], Is.EqualTo(lines[0]));

        static string Numbers(JsonElement json) => string.Join(' ', json.EnumerateObject().Where(p => p.Name is not ("device" or "seconds")).Select(p => p.ToString()));
    }

    [Test]
    public void Embed_plot_and_loss_agree_with_the_cpu()
    {
        var features = new Dictionary<string, float[]>();
        var losses = new Dictionary<string, double>();
        foreach (string device in new[] { "cpu", Cuda })
        {
            string file = _folder[$"{device}.safetensors"];
            Succeeds("embed", Run, "--data", Data, "--out", file, "--device", device);
            Dictionary<string, Tensor> read = Safetensors.Read(file);
            features[device] = read["embeddings"].ToArray();
            foreach (Tensor tensor in read.Values) tensor.Dispose();
            string json = Succeeds("loss", "nt-xent", "--embeddings", _folder["cpu.safetensors"], "--gradients", _folder[$"{device}-gradients.safetensors"], "--device", device);
            losses[device] = JsonDocument.Parse(json).RootElement.GetProperty("loss").GetDouble();
            Succeeds("plot", Run, "--data", Data, "--method", "pca", "--compare", "--out", _folder[$"{device}.png"], "--device", device);
            Assert.That(new FileInfo(_folder[$"{device}.png"]).Length, Is.GreaterThan(2000));
        }
        Assert.That(features[Cuda], Is.EqualTo(features["cpu"]).Within(1e-4f));
        Assert.That(losses[Cuda], Is.EqualTo(losses["cpu"]).Within(1e-5));

        static string Succeeds(params string[] args)
        {
            Tool run = Tool.Run(args);
            Assert.That(run.ExitCode, Is.Zero, $"{string.Join(' ', args)}: {run.Error}");
            return run.Output;
        }
    }
}
