using System.Globalization;
using System.Text.Json;
using KernelContrast.Cli.Demo;

namespace KernelContrast.Cli.Tests;

/// <summary>The demo from first to last, on so few digits that it takes seconds; nothing is learned from them.</summary>
[TestFixture]
internal sealed class DemoTests
{
    [Test]
    public void The_demo_writes_everything_it_promises()
    {
        using var folder = new TemporaryFolder();
        string data = SmallDigits.Write(folder["digits"], train: 520, test: 200), output = folder["demo"];
        Tool run = Tool.Run("demo", "--data", data, "--epochs", "2", "--out", output);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.StartWith("device: cpu").And.Match("(?m)^accuracy, % +kNN +linear +10 labels per class$").And.Match("(?m)^trained without labels( +[0-9.]+){3}$"));

        using JsonDocument result = JsonDocument.Parse(File.ReadAllText(Path.Combine(output, "result.json")));
        JsonElement root = result.RootElement;
        Assert.That(root.EnumerateObject().Select(p => p.Name), Is.EqualTo(new[] { "device", "seconds", "raw", "random", "learned" }));
        Assert.That(root.GetProperty("device").GetString(), Is.EqualTo("cpu"));
        Assert.That(root.GetProperty("seconds").EnumerateObject().Select(p => p.Name), Is.EqualTo(new[] { "train", "total" }));
        foreach (string name in new[] { "raw", "random", "learned" })
        {
            Assert.That(root.GetProperty(name).EnumerateObject().Select(p => p.Name), Is.EqualTo(new[] { "knn", "linear", "few" }));
            foreach (JsonProperty value in root.GetProperty(name).EnumerateObject())
                Assert.That(value.Value.GetDouble(), Is.InRange(1, 100), $"{name} {value.Name}: per cent");
        }
        foreach (string picture in new[] { "views.png", "training.png", "space.png" })
        {
            byte[] png = File.ReadAllBytes(Path.Combine(output, picture));
            Assert.That(png.AsSpan(0, 4).ToArray(), Is.EqualTo(new byte[] { 0x89, (byte)'P', (byte)'N', (byte)'G' }), picture);
            Assert.That(png, Has.Length.GreaterThan(2000), picture);
        }
        Assert.That(File.ReadAllLines(Path.Combine(output, "metrics.jsonl")).Count(l => l.Contains("\"epoch\"") && l.Contains("rankMe")), Is.EqualTo(2));
        Assert.That(File.Exists(Path.Combine(output, "checkpoint.safetensors")));
        Assert.That(File.Exists(Path.Combine(output, "run.json")));
        Dictionary<string, Tensor> features = Safetensors.Read(Path.Combine(output, "embeddings.safetensors"));
        Assert.That(features["embeddings"].Shape, Is.EqualTo(new Shape(200, 64)));
        Assert.That(features["train_labels"].Shape, Is.EqualTo(new Shape(520)));
        foreach (Tensor tensor in features.Values) tensor.Dispose();

        // What the demo writes, the loss reads.
        Assert.That(Tool.Run("loss", "nt-xent", "--embeddings", Path.Combine(output, "embeddings.safetensors")).ExitCode, Is.Zero);
    }

    [TestCase("f32", "0.001", 0)]
    [TestCase("tf32", "0.005 times the step", 1)]
    [TestCase("bf16", "0.025 times the step", 1)]
    public void The_tiny_demo_takes_the_same_steps_on_the_emulated_cuda_device(string precision, string tolerance, int grows)
    {
        using var folder = new TemporaryFolder();
        double[] expected = Losses("cpu", $"Another device's losses are the same to {tolerance} in {precision}.");
        double[] actual = Losses("cuda-emulated", $"The losses are cpu's to {tolerance} in {precision}: at step ");
        Assert.That(expected, Has.Length.EqualTo(8));
        double first = double.Parse(tolerance.Split(' ')[0], CultureInfo.InvariantCulture);
        for (int i = 0; i < 8; i++) Assert.That(actual[i], Is.EqualTo(expected[i]).Within(first * (1 + grows * i)), $"step {i + 1}");
        Assert.That(expected, Is.All.InRange(2, 4));
        Assert.That(expected.Max() - expected.Min(), Is.GreaterThan(4 * first), "steps differ by more than the tolerance");

        double[] Losses(string device, string words)
        {
            Tool run = Tool.Run("demo", "--tiny", "--device", device, "--precision", precision, "--out", folder[device]);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            Assert.That(run.Output, Does.StartWith($"device: {device}, ").And.Contain(words));
            Assert.That(File.Exists(Path.Combine(folder[device], "checkpoint.safetensors")));
            return [.. run.Output.Split('\n').Where(l => l.StartsWith("step ")).Select(l => double.Parse(l.Split("loss ")[1], CultureInfo.InvariantCulture))];
        }
    }

    [Test]
    public void Losses_farther_apart_than_the_tolerance_are_told([Values] Precision precision)
    {
        double[] cpu = [3, 2.5, 2];
        double tolerance = TinyDemo.ToleranceOf(precision, 2);
        Assert.That(TinyDemo.Compare([3, 2.5 - 0.9 * tolerance, 2], cpu, precision).Within);
        (bool within, string found) = TinyDemo.Compare([3, 2.5 - 1.1 * tolerance, 2], cpu, precision);
        Assert.That(within, Is.False);
        Assert.That(found, Does.StartWith("at step 2, ").And.EndWith("on cpu 2.500000"));
        (within, found) = TinyDemo.Compare([3, double.NaN, 2], cpu, precision);
        Assert.That(within, Is.False);
        Assert.That(found, Does.Contain("step 2, NaN"));
        Assert.That(TinyDemo.Compare([3, 2.5], cpu, precision).Within, Is.False, "a step is missing");
    }

    [Test]
    public void In_bfloat16_the_tiny_demo_stays_near_float32_and_is_not_it()
    {
        using var folder = new TemporaryFolder();
        foreach (string device in new[] { "cpu", "cuda-emulated" })
        {
            double[] expected = Losses(device, "f32"), actual = Losses(device, "bf16");
            Assert.That(actual, Is.EqualTo(expected).Within(0.05), device);
            Assert.That(actual[^1], Is.Not.EqualTo(expected[^1]).Within(1e-5), device);
        }

        double[] Losses(string device, string precision)
        {
            Tool run = Tool.Run("demo", "--tiny", "--device", device, "--precision", precision, "--out", folder[device + precision]);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            return [.. run.Output.Split('\n').Where(l => l.StartsWith("step ")).Select(l => double.Parse(l.Split("loss ")[1], CultureInfo.InvariantCulture))];
        }
    }

    [Test]
    public void A_folder_without_digits_is_refused()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["empty"]);
        Tool.Refuses(["demo", "--data", folder["empty"], "--out", folder["out"]], "empty");
    }
}
