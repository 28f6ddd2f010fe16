using System.Text.Json;
using KernelContrast.Datasets;
using KernelContrast.Nn;
using KernelContrast.Optim;
using KernelContrast.Training;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class SimClrTrainerTests
{
    private string _directory = "";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("kc-train").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    /// <summary>Bars of 8 places and directions, with a little noise.</summary>
    internal static MemoryDataset Bars(int count = 40, byte shift = 0)
    {
        const int size = 12;
        var random = new PhiloxStream(5, 5);
        var pixels = new byte[count * size * size];
        for (int i = 0; i < count; i++)
            for (int y = 0; y < size; y++)
                for (int x = 0; x < size; x++)
                    pixels[(i * size + y) * size + x] = (byte)((((i % 2 == 0 ? x : y) / 3 == i / 2 % 4) ? 200 : 20) + random.NextInt32(30) + shift);
        return new MemoryDataset(pixels, [.. Enumerable.Range(0, count).Select(i => i % 8)], 1, size, size);
    }

    internal static SimClrConfig Config() => new()
    {
        Encoder = ResNetConfig.Small(8, 4, 8, 8) with { InputChannels = 1, Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection },
        HeadOutputs = 8,
        Augmentation = "digits",
        BatchSize = 8,
        Epochs = 3,
        Seed = 11,
        HealthImages = 16,
        LogEverySteps = 1,
    };

    private string Run(string name) => Path.Combine(_directory, name);

    [Test]
    public void A_tiny_net_overfits()
    {
        // Two equal views: the loss can fall from ln 15 = 2.7 to what points spread over the sphere have, about 1.2.
        using SimClrTrainer trainer = SimClrTrainer.Start(Config() with { Epochs = 12, LearningRate = 0.02, Augmentation = "none" }, Bars(), Run("a"));
        var epochs = new List<EpochReport>();
        var steps = new List<StepReport>();
        trainer.EpochEnded += epochs.Add;
        trainer.StepEnded += steps.Add;
        TrainingResult result = trainer.Run();
        Assert.That(result.Completed, Is.True);
        Assert.That(steps.Select(s => s.Step), Is.EqualTo(Enumerable.Range(1, 60)));
        Assert.That(epochs, Has.Count.EqualTo(12));
        Assert.That(steps[0].Loss, Is.GreaterThan(2));
        Assert.That(epochs[^1].Loss, Is.LessThan(1.6));
        Assert.That(epochs[0].Loss, Is.EqualTo(steps.Take(5).Average(s => s.Loss)).Within(1e-12));
        Assert.That(epochs[^1].Health!.Spread, Is.GreaterThan(0.2));
        Assert.That(steps[^1].LearningRate, Is.LessThan(steps[10].LearningRate));
        Assert.That(steps[^1].Left, Is.EqualTo(TimeSpan.Zero));
        using ResNet encoder = result.Checkpoint.LoadEncoder();
        Assert.That(encoder.NamedTensors()[0].Tensor.ToArray(), Is.EqualTo(trainer.Encoder.NamedTensors()[0].Tensor.ToArray()));
        Assert.That(encoder.Training, Is.False);
    }

    [TestCase(OptimizerKind.AdamW, 1), TestCase(OptimizerKind.AdamW, 5), TestCase(OptimizerKind.AdamW, 8), TestCase(OptimizerKind.Sgd, 7), TestCase(OptimizerKind.Lars, 7)]
    public void A_run_stopped_and_resumed_ends_with_the_same_bits(OptimizerKind optimizer, int stopAt)
    {
        SimClrConfig config = Config() with { Optimizer = optimizer, LearningRate = optimizer == OptimizerKind.AdamW ? 4e-3 : 0.1 };
        using SimClrTrainer whole = SimClrTrainer.Start(config, Bars(), Run("whole"));
        TrainingResult undisturbed = whole.Run();

        TrainingResult stopped = RunUntil(SimClrTrainer.Start(config, Bars(), Run("parts")), stopAt);
        Assert.That(stopped.Completed, Is.False);
        Assert.That(stopped.Checkpoint.Step, Is.EqualTo(stopAt));
        using SimClrTrainer second = SimClrTrainer.Resume(Run("parts"), Bars());
        TrainingResult resumed = second.Run();

        Assert.That(resumed.Completed, Is.True);
        Assert.That(resumed.Checkpoint.WeightsHash, Is.EqualTo(undisturbed.Checkpoint.WeightsHash));
        foreach (((string name, Tensor a), (_, Tensor b)) in whole.Encoder.NamedTensors().Zip(second.Encoder.NamedTensors()))
            Assert.That(b.ToArray(), Is.EqualTo(a.ToArray()), name);
        Assert.That(Numbers("parts"), Is.EqualTo(Numbers("whole")), "metrics but for times");
    }

    [Test]
    public void A_run_killed_behind_its_checkpoint_ends_with_the_same_bits_and_metrics()
    {
        SimClrConfig config = Config() with { CheckpointEverySteps = 2 };
        using SimClrTrainer whole = SimClrTrainer.Start(config, Bars(), Run("whole"));
        string hash = whole.Run().Checkpoint.WeightsHash;

        // Put the checkpoint of step 6 back under a run that went on to step 8, tore a line and left a temporary file.
        byte[]? at6 = null;
        using (SimClrTrainer first = SimClrTrainer.Start(config, Bars(), Run("killed")))
        {
            using var stop = new CancellationTokenSource();
            first.StepEnded += report =>
            {
                if (report.Step == 7) at6 = File.ReadAllBytes(Path.Combine(Run("killed"), Checkpoint.FileName));
                if (report.Step == 8) stop.Cancel();
            };
            first.Run(stop.Token);
        }
        File.WriteAllBytes(Path.Combine(Run("killed"), Checkpoint.FileName), at6!);
        File.AppendAllText(Path.Combine(Run("killed"), Metrics.FileName), "{\"kind\":\"step\",\"step\":9,\"lo");
        string[] leftovers = [.. new[] { Checkpoint.FileName, "checkpoint.json", Metrics.FileName }.Select(f => Path.Combine(Run("killed"), $".{f}.0123.partial"))];
        foreach (string leftover in leftovers) File.WriteAllText(leftover, "torn");

        using SimClrTrainer second = SimClrTrainer.Resume(Run("killed"), Bars());
        Assert.That(second.Step, Is.EqualTo(6));
        Assert.That(second.Run().Checkpoint.WeightsHash, Is.EqualTo(hash));
        Assert.That(Numbers("killed"), Is.EqualTo(Numbers("whole")));
        Assert.That(leftovers.Where(File.Exists), Is.Empty);
    }

    [Test]
    public void A_run_killed_before_its_first_step_can_be_resumed()
    {
        TrainingResult result = RunUntil(SimClrTrainer.Start(Config(), Bars(), Run("a")), 0);
        Assert.That(result.Checkpoint.Step, Is.Zero);
        using SimClrTrainer second = SimClrTrainer.Resume(Run("a"), Bars());
        Assert.That(second.Run().Completed, Is.True);
    }

    [Test]
    public void The_seed_decides_and_the_health_monitors_do_not()
    {
        Assert.That(Hash(Config() with { HealthImages = 0, LogEverySteps = 0 }, "b"), Is.EqualTo(Hash(Config(), "a")));
        Assert.That(Hash(Config() with { Seed = 12 }, "c"), Is.Not.EqualTo(Hash(Config(), "a2")));
        SimClrConfig lars = Config() with { Optimizer = OptimizerKind.Lars, LearningRate = 0.1 };
        Assert.That(Hash(lars with { LarsMomentum = LarsMomentum.RateOutside }, "l"), Is.Not.EqualTo(Hash(lars, "l2")));

        string Hash(SimClrConfig config, string name)
        {
            using SimClrTrainer trainer = SimClrTrainer.Start(config with { Epochs = 1 }, Bars(), Run(name));
            return trainer.Run().Checkpoint.WeightsHash;
        }
    }

    [Test]
    public void Memory_of_a_step_returns()
    {
        using SimClrTrainer trainer = SimClrTrainer.Start(Config() with { Epochs = 4 }, Bars(), Run("a"));
        var live = new List<long>();
        trainer.StepEnded += _ => live.Add(Device.Cpu.Memory.LiveBytes);
        trainer.Run();
        // Not equal: tensors that other tests forgot may go in the meantime.
        Assert.That(live.Skip(1), Is.All.LessThanOrEqualTo(live[1]));
    }

    [Test]
    public void Damaged_checkpoints_are_named_and_nothing_is_trained()
    {
        RunUntil(SimClrTrainer.Start(Config(), Bars(), Run("a")), 2);
        string path = Path.Combine(Run("a"), Checkpoint.FileName);
        byte[] whole = File.ReadAllBytes(path);
        File.WriteAllBytes(path, whole[..(whole.Length / 2)]);
        Assert.That(() => SimClrTrainer.Resume(Run("a"), Bars()), Throws.TypeOf<DataFormatException>().With.Message.Contains(path));
        byte[] flipped = [.. whole];
        flipped[^5] ^= 1;
        File.WriteAllBytes(path, flipped);
        Assert.That(() => SimClrTrainer.Resume(Run("a"), Bars()), Throws.TypeOf<DataFormatException>().With.Message.Contains("checksum"));
        using (Tensor x = Tensor.Zeros(new(1))) Safetensors.Write(path, [new("x", x)]);
        Assert.That(() => Checkpoint.Open(path), Throws.TypeOf<DataFormatException>().With.Message.Contains("plain tensors"));
        File.Delete(path);
        Assert.That(() => SimClrTrainer.Resume(Run("a"), Bars()), Throws.TypeOf<FileNotFoundException>().With.Message.Contains("no checkpoint"));
    }

    [Test]
    public void Other_data_and_a_run_in_the_way_are_refused()
    {
        RunUntil(SimClrTrainer.Start(Config(), Bars(), Run("a")), 2);
        Assert.That(() => SimClrTrainer.Resume(Run("a"), Bars(48)), Throws.ArgumentException.With.Message.Contains("48 images"));
        Assert.That(() => SimClrTrainer.Resume(Run("a"), Bars(40, shift: 1)), Throws.ArgumentException.With.Message.Contains("other images"));
        Assert.That(() => SimClrTrainer.Start(Config(), Bars(), Run("a")), Throws.TypeOf<IOException>().With.Message.Contains("Resume"));
        using SimClrTrainer again = SimClrTrainer.Start(Config(), Bars(), Run("a"), overwrite: true);
        Assert.That(again.Step, Is.Zero);
    }

    [Test]
    public void A_checkpoint_that_cannot_be_written_leaves_the_one_before()
    {
        using SimClrTrainer trainer = SimClrTrainer.Start(Config(), Bars(), Run("a"));
        string path = Path.Combine(Run("a"), Checkpoint.FileName);
        byte[]? before = null;
        string moved = Run("moved");
        trainer.StepEnded += report =>
        {
            if (report.Step != 1) return;
            before = File.ReadAllBytes(path);
            Directory.Move(Run("a"), moved);
        };
        Assert.That(() => trainer.Run(), Throws.InstanceOf<IOException>().With.Message.Contains(Run("a")));
        Assert.That(File.ReadAllBytes(Path.Combine(moved, Checkpoint.FileName)), Is.EqualTo(before));
    }

    [Test]
    public void A_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint()
    {
        using SimClrTrainer trainer = SimClrTrainer.Start(Config(), Bars(), Run("a"));
        trainer.StepEnded += report =>
        {
            if (report.Step == 6) trainer.Encoder.NamedParameters()[0].Tensor.AsSpan<float>().Fill(float.NaN);
        };
        Assert.That(() => trainer.Run(), Throws.TypeOf<TrainingFailedException>().With.Message.Contains("step 6").And.Message.Contains("lower learning rate"));
        Assert.That(Checkpoint.Open(Run("a")).Step, Is.EqualTo(5));
    }

    [Test]
    public void A_weight_that_is_not_finite_is_never_saved()
    {
        using SimClrTrainer trainer = SimClrTrainer.Start(Config() with { HealthImages = 0 }, Bars(), Run("a"));
        trainer.StepEnded += report =>
        {
            if (report.Step == 5) trainer.Head.NamedParameters()[^1].Tensor.AsSpan<float>()[0] = float.NaN;
        };
        Assert.That(() => trainer.Run(), Throws.TypeOf<TrainingFailedException>().With.Message.Contains("head."));
        Assert.That(Checkpoint.Open(Run("a")).Step, Is.Zero);
    }

    [Test]
    public void Collapse_is_announced_once()
    {
        // Identical images give identical embeddings: the loss is ln(2N − 1) and the spread 0, whatever is learned.
        var still = new MemoryDataset(new byte[40 * 144], null, 1, 12, 12);
        using SimClrTrainer trainer = SimClrTrainer.Start(Config() with { Augmentation = "none", Epochs = 16 }, still, Run("a"));
        var warnings = new List<string>();
        trainer.Warning += warnings.Add;
        trainer.Run();
        Assert.That(warnings, Has.Count.EqualTo(2));
        Assert.That(warnings, Has.Some.Contain("ln(2·8 − 1) = 2.708").And.Some.Contain("spread"));
    }

    [Test]
    public void Configurations_survive_json_and_wrong_ones_are_named()
    {
        SimClrConfig config = Config() with { Optimizer = OptimizerKind.Lars, WeightDecay = 0.25, Temperature = 0.07 };
        string json = config.ToJson();
        Assert.That(SimClrConfig.FromJson(json).ToJson(), Is.EqualTo(json));
        SimClrConfig partial = SimClrConfig.FromJson("""{"epochs": 7, "encoder": {"widths": [8, 8, 8], "blocks": [1, 1, 1]}}""");
        Assert.That(partial.Epochs, Is.EqualTo(7));
        Assert.That(partial.BatchSize, Is.EqualTo(256));
        Assert.That(partial.Encoder.InputChannels, Is.EqualTo(3));
        Assert.That(() => SimClrConfig.FromJson("""{"epoch": 7}"""), Throws.ArgumentException.With.Message.Contains("epoch"));
        Assert.That(() => SimClrConfig.FromJson("[]"), Throws.ArgumentException);
        Assert.That((config with { ViewSize = 20 }).Views().Second.OutputHeight, Is.EqualTo(20));
        Assert.That(() => (config with { Temperature = 0 }).Check(), Throws.ArgumentException.With.Message.Contains("temperature"));
        Assert.That(() => SimClrTrainer.Start(config with { Encoder = ResNetConfig.Small(8) }, Bars(), Run("a")), Throws.ArgumentException.With.Message.Contains("channels"));
    }

    private static TrainingResult RunUntil(SimClrTrainer trainer, int step)
    {
        using (trainer)
        {
            using var stop = new CancellationTokenSource();
            if (step == 0) stop.Cancel();
            trainer.StepEnded += report => { if (report.Step == step) stop.Cancel(); };
            return trainer.Run(stop.Token);
        }
    }

    /// <summary>The metrics without times.</summary>
    private List<string> Numbers(string name) =>
    [
        .. File.ReadLines(Path.Combine(Run(name), Metrics.FileName)).Select(line => string.Join(", ", JsonDocument.Parse(line).RootElement
            .EnumerateObject().Where(p => p.Name is not ("seconds" or "imagesPerSecond")).Select(p => p.ToString()))),
    ];
}
