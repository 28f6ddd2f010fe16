using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Tests;

/// <summary>The average of a run's encoder over its steps: its numbers, its way through checkpoints, and what it leaves alone.</summary>
[TestFixture]
internal sealed class AveragedEncoderTests
{
    private const double Decay = 0.6;

    private string _directory = "";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("kc-average").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    /// <summary>20 steps; a checkpoint after each, so that a device that runs behind reports each in time.</summary>
    private static SimClrConfig Config() =>
        SimClrTrainerTests.Config() with { Epochs = 1, BatchSize = 4, HealthImages = 0, EmaDecay = Decay, CheckpointEverySteps = 1, LearningRate = 0.02 };

    private SimClrTrainer Start(string name, SimClrConfig config, Device device) => SimClrTrainer.Start(config, SimClrTrainerTests.Bars(80), Path.Combine(_directory, name), device);

    private static float[][] Numbers(Module module) => [.. module.NamedTensors().Select(t => t.Tensor.ToArray())];

    /// <summary>Weights and batch norm's running statistics alike: average ← d·average + (1 − d)·encoder, d = min(decay, (1 + k)/(10 + k)).</summary>
    [Test]
    public void It_is_the_recurrence_in_float64_over_the_steps([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        using SimClrTrainer trainer = Start("a", Config(), Device.Parse(name));
        double[][] expected = [.. Numbers(trainer.Encoder).Select(x => Array.ConvertAll(x, v => (double)v))];
        Assert.That(Numbers(trainer.Average!), Is.EqualTo(Numbers(trainer.Encoder)), "it starts as the encoder does");
        int steps = 0, statistics = trainer.Average!.NamedBuffers().Count;
        trainer.StepEnded += report =>
        {
            Assert.That(trainer.Step, Is.EqualTo(report.Step), "reported at once");
            double decay = Math.Min(Decay, (1.0 + steps) / (10.0 + steps));
            steps++;
            float[][] encoder = Numbers(trainer.Encoder), average = Numbers(trainer.Average!);
            for (int t = 0; t < encoder.Length; t++)
                for (int i = 0; i < encoder[t].Length; i++)
                {
                    expected[t][i] = decay * expected[t][i] + (1 - decay) * encoder[t][i];
                    // a rounding of each of the last steps, of numbers of about this size
                    double bound = 2e-6 * Math.Max(Math.Abs(expected[t][i]), encoder[t].Max(Math.Abs));
                    if (!(Math.Abs(average[t][i] - expected[t][i]) <= bound)) Assert.Fail($"step {report.Step}, tensor {t}, element {i}: {average[t][i]:G9}, expected {expected[t][i]:G9}");
                }
        };
        trainer.Run();
        Assert.That(steps, Is.EqualTo(20));
        Assert.That(statistics, Is.GreaterThan(4));
        Assert.That(trainer.Average!.NamedBuffers().Select(b => b.Tensor.ToArray()), Is.Not.EqualTo(trainer.Encoder.NamedBuffers().Select(b => b.Tensor.ToArray())));
        Assert.That(trainer.Average.NamedParameters().Where(p => p.Tensor.Grad is not null || p.Tensor.RequiresGrad), Is.Empty);
    }

    [Test]
    public void A_resumed_run_ends_with_the_same_bits([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        Device device = Device.Parse(name);
        using SimClrTrainer whole = Start("whole", Config(), device);
        string hash = whole.Run().Checkpoint.WeightsHash;
        using (SimClrTrainer first = Start("parts", Config(), device))
        {
            using var stop = new CancellationTokenSource();
            first.StepEnded += report => { if (report.Step == 3) stop.Cancel(); }; // while the decay still grows
            Assert.That(first.Run(stop.Token).Checkpoint.Step, Is.EqualTo(3));
        }
        using SimClrTrainer second = SimClrTrainer.Resume(Path.Combine(_directory, "parts"), SimClrTrainerTests.Bars(80), device);
        Assert.That(second.Run().Checkpoint.WeightsHash, Is.EqualTo(hash));
        Assert.That(Numbers(second.Average!), Is.EqualTo(Numbers(whole.Average!)));
        Assert.That(Numbers(second.Average!), Is.Not.EqualTo(Numbers(second.Encoder)));
    }

    [Test]
    public void Checkpoints_give_the_average_or_when_asked_the_last_and_training_does_not_notice()
    {
        using SimClrTrainer trainer = Start("a", Config(), Device.Cpu), plain = Start("b", Config() with { EmaDecay = 0 }, Device.Cpu);
        Checkpoint checkpoint = trainer.Run().Checkpoint, without = plain.Run().Checkpoint;
        Assert.That((checkpoint.HasAverage, without.HasAverage), Is.EqualTo((true, false)));
        Assert.That(plain.Average, Is.Null);
        Assert.That(Numbers(plain.Encoder), Is.EqualTo(Numbers(trainer.Encoder)), "the average changes nothing of the training");
        using ResNet average = checkpoint.LoadEncoder(), last = checkpoint.LoadEncoder(last: true), only = without.LoadEncoder(), same = without.LoadEncoder(last: true);
        Assert.That(Numbers(average), Is.EqualTo(Numbers(trainer.Average!)));
        Assert.That(Numbers(last), Is.EqualTo(Numbers(trainer.Encoder)));
        Assert.That(Numbers(only), Is.EqualTo(Numbers(plain.Encoder)));
        Assert.That(Numbers(same), Is.EqualTo(Numbers(plain.Encoder)));
        Assert.That(average.Training, Is.False);

        // in evaluation the running statistics that were averaged with it count
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(new(3, 1, 12, 12), 5);
        float[] features = average.Forward(x).ToArray();
        foreach ((string name, Tensor buffer) in average.NamedBuffers()) buffer.CopyFrom(last.NamedBuffers().Single(b => b.Name == name).Tensor);
        Assert.That(average.Forward(x).ToArray(), Is.Not.EqualTo(features));
    }

    [Test]
    public void An_average_that_is_missing_or_out_of_range_is_named()
    {
        using (SimClrTrainer trainer = Start("a", Config(), Device.Cpu)) trainer.Save();
        string path = Path.Combine(_directory, "a", Checkpoint.FileName);
        Dictionary<string, string> metadata;
        using (var reader = new SafetensorsReader(path)) metadata = new(reader.Metadata);
        using var scope = new TensorScope();
        Dictionary<string, Tensor> tensors = Safetensors.Read(path);
        Safetensors.Write(path, tensors.Where(t => t.Key != "ema.conv1.weight"), metadata);
        Assert.That(() => SimClrTrainer.Resume(Path.Combine(_directory, "a"), SimClrTrainerTests.Bars(80)), Throws.ArgumentException.With.Message.Contains("conv1.weight"));
        foreach (double decay in new[] { -0.1, 1, double.NaN })
            Assert.That(() => Start("b", Config() with { EmaDecay = decay }, Device.Cpu), Throws.ArgumentException.With.Message.Contains("less than 1"));
    }
}
