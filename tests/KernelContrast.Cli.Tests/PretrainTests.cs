using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace KernelContrast.Cli.Tests;

/// <summary><c>pretrain</c> end to end on a few digits and a tiny encoder: killed, stopped, resumed, configured.</summary>
[TestFixture]
internal sealed partial class PretrainTests
{
    private const int Epochs = 4, StepsPerEpoch = 6;

    private TemporaryFolder _folder = null!;
    private string _data = "", _undisturbed = "";

    [OneTimeSetUp]
    public void Train()
    {
        _folder = new();
        _data = SmallDigits.Write(_folder["digits"], train: 16 * StepsPerEpoch, test: 16);
        Tool run = Tool.Run(Arguments("undisturbed"));
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        _undisturbed = Weights(run);
    }

    [OneTimeTearDown]
    public void Delete() => _folder.Dispose();

    [Test]
    public void Redirected_output_is_plain_with_one_line_per_epoch()
    {
        Tool run = Tool.Run(Arguments("plain"));
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Not.Contain("\e").And.Not.Contain("\r"));
        string[] lines = run.Output.TrimEnd().Split('\n');
        Assert.That(lines.Where(l => l.StartsWith("epoch")), Has.Exactly(Epochs).Items);
        Assert.That(lines.First(l => l.StartsWith("epoch")), Does.Match(@"^epoch 1/4  loss \d+\.\d{4}  [\d,]+ images/s  \d+:\d\d left  spread \d"));
        Assert.That(lines, Has.Length.EqualTo(Epochs + 3));
        Assert.That(Weights(run), Is.EqualTo(_undisturbed), "the same run again");
    }

    [Test]
    public void A_run_killed_in_the_middle_and_resumed_ends_with_the_same_weights()
    {
        using (Process process = Tool.Start(Arguments("killed", "--checkpoint-steps", "1")))
        {
            WaitForStep(process, _folder["killed/checkpoint.json"], atLeast: StepsPerEpoch + 2);
            process.Kill();
            process.WaitForExit();
        }
        long step = StepOf(_folder["killed/checkpoint.json"]);
        Assert.That(step, Is.GreaterThan(StepsPerEpoch).And.LessThan(Epochs * StepsPerEpoch), "killed in the middle");
        Tool run = Tool.Run("pretrain", "--data", _data, "--resume", _folder["killed"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Contain("going on from step"));
        Assert.That(Weights(run), Is.EqualTo(_undisturbed));
    }

    [Test]
    [Platform("Linux,MacOsX")]
    public void Ctrl_C_saves_and_says_how_to_go_on()
    {
        using Process process = Tool.StartInterruptible(Arguments("stopped", "--checkpoint-steps", "1"));
        WaitForStep(process, _folder["stopped/checkpoint.json"], atLeast: 2);
        using (Process kill = Process.Start("kill", ["-INT", process.Id.ToString()])) kill.WaitForExit();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.EqualTo(130), output);
        Assert.That(output, Does.Contain($"Go on with: kernelcontrast pretrain --data {_data} --threads 1 --resume {_folder["stopped"]}"));
        // The whole command again, with --resume, says the same.
        Tool run = Tool.Run(Arguments("stopped", "--checkpoint-steps", "1", "--resume"));
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(Weights(run), Is.EqualTo(_undisturbed));
    }

    [Test]
    public void The_options_of_a_run_lie_beside_it_and_repeat_it()
    {
        Tool run = Tool.Run("pretrain", "--config", _folder["undisturbed/run.json"], "--out", _folder["again"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(Weights(run), Is.EqualTo(_undisturbed));
        using JsonDocument first = JsonDocument.Parse(File.ReadAllText(_folder["undisturbed/run.json"]));
        using JsonDocument second = JsonDocument.Parse(File.ReadAllText(_folder["again/run.json"]));
        foreach (JsonProperty property in first.RootElement.EnumerateObject())
            Assert.That(second.RootElement.GetProperty(property.Name).GetRawText(),
                property.Name == "out" ? Is.EqualTo($"\"{_folder["again"]}\"") : Is.EqualTo(property.Value.GetRawText()), property.Name);
    }

    [Test]
    public void A_batch_in_parts_has_the_losses_of_the_whole_without_batch_norm()
    {
        double[] whole = Losses("whole", "--norm", "none"), parts = Losses("in-parts", "--norm", "none", "--micro-batch", "5");
        Assert.That(parts, Has.Length.EqualTo(2).And.EqualTo(whole).Within(1e-3).Percent);
        using JsonDocument options = JsonDocument.Parse(File.ReadAllText(_folder["in-parts/run.json"]));
        Assert.That(options.RootElement.GetProperty("micro-batch").GetInt32(), Is.EqualTo(5));
        Assert.That(options.RootElement.GetProperty("norm").GetString(), Is.EqualTo("none"));

        double[] Losses(string name, params string[] more)
        {
            Tool run = Tool.Run(Arguments(name, [.. more, "--epochs", "2"]));
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            return [.. File.ReadLines(_folder[$"{name}/metrics.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement)
                .Where(line => line.GetProperty("kind").GetString() == "epoch").Select(line => line.GetProperty("loss").GetDouble())];
        }
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        string run = _folder["undisturbed"];
        Tool.Refuses(["pretrain", "--out", _folder["x"]], "--data");
        Tool.Refuses(["pretrain", "--data", _data], "--out");
        Tool.Refuses(["pretrain", "--data", _folder["none"], "--out", _folder["x"]], "no such file or directory");
        Tool.Refuses(Arguments("undisturbed"), "holds a run already");
        Tool.Refuses(Arguments("x", "--batch-size", "1000"), "batch of 1000", "96 images");
        Tool.Refuses(Arguments("x", "--temperature", "0"), "temperature");
        Tool.Refuses(Arguments("x", "--micro-batch", "17"), "micro-batch", "16 images");
        Tool.Refuses(Arguments("x", "--norm", "group"), "group", "none");
        Tool.Refuses(Arguments("x", "--model", "resnet9"), "resnet9", "resnet8");
        Tool.Refuses(Arguments("x", "--preset", "strong"), "strong", "simclr");
        Tool.Refuses(Arguments("x", "--widths", "4"), "3 stages");
        Tool.Refuses(["pretrain", "--data", _data, "--resume", _folder["none"]], "no checkpoint");
        Tool.Refuses(["pretrain", "--data", _data, "--resume", run, "--lr", "0.5"], "--lr differs");
        Tool.Refuses(["pretrain", "--data", _data, "--images", "48", "--resume", run], "other images");
    }

    private string[] Arguments(string run, params string[] more)
    {
        (string Name, string[] Values)[] usual =
        [
            ("--data", [_data]), ("--out", [_folder[run]]), ("--epochs", [$"{Epochs}"]), ("--batch-size", ["16"]), ("--widths", ["4", "4", "8"]),
            ("--head-outputs", ["8"]), ("--preset", ["digits"]), ("--seed", ["7"]), ("--threads", ["1"]),
        ];
        return ["pretrain", .. usual.Where(o => !more.Contains(o.Name)).SelectMany(o => o.Values.Prepend(o.Name)), .. more];
    }

    private static string Weights(Tool run) => HashLine().Match(run.Output) is { Success: true } match ? match.Groups[1].Value : throw new AssertionException(run.Output + run.Error);

    private static void WaitForStep(Process process, string path, long atLeast)
    {
        var clock = Stopwatch.StartNew();
        while (StepOf(path) < atLeast)
        {
            Assert.That(process.HasExited, Is.False, "ended before it could be disturbed");
            Assert.That(clock.Elapsed.TotalSeconds, Is.LessThan(60));
            Thread.Sleep(1);
        }
    }

    private static long StepOf(string path)
    {
        if (!File.Exists(path)) return -1;
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(path));
        return json.RootElement.GetProperty("step").GetInt64();
    }

    [GeneratedRegex("(?m)^weights ([0-9a-f]{64})$")]
    private static partial Regex HashLine();
}
