using KernelContrast.Devices;
using KernelContrast.Training;

namespace KernelContrast.Tests;

/// <summary>Training on the emulated CUDA device: the CPU's losses, the same bits after a resume, late but certain reports.</summary>
[TestFixture]
internal sealed class SimClrTrainerCudaTests
{
    private string _directory = "";

    private static CudaDevice Cuda => TestDevice.Cuda;

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("kc-train").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    /// <summary>20 steps, more than are read at a time.</summary>
    private static SimClrConfig Config() => SimClrTrainerTests.Config() with { Epochs = 1, BatchSize = 4, HealthImages = 0 };

    private SimClrTrainer Start(string name, SimClrConfig config, Device? device = null) =>
        SimClrTrainer.Start(config, SimClrTrainerTests.Bars(80), Path.Combine(_directory, name), device ?? Cuda);

    [TestCase(OptimizerKind.AdamW)]
    [TestCase(OptimizerKind.Sgd)]
    [TestCase(OptimizerKind.Lars)]
    public void The_losses_are_the_cpus_step_by_step(OptimizerKind optimizer)
    {
        SimClrConfig config = Config() with { Optimizer = optimizer, Augmentation = "simclr" };
        double[] expected = Losses(Device.Cpu), actual = Losses(Cuda);
        Assert.That(actual, Has.Length.EqualTo(20));
        // Adam divides by the root of a mean square: what rounding makes of a gradient near 0 grows with the steps.
        for (int i = 0; i < actual.Length; i++)
            Assert.That(actual[i], Is.EqualTo(expected[i]).Within(2e-4 * (i + 1)), $"step {i + 1}");

        double[] Losses(Device device)
        {
            using SimClrTrainer trainer = Start(device.Name, config, device);
            var losses = new List<double>();
            trainer.StepEnded += report =>
            {
                Assert.That(report.Step, Is.EqualTo(losses.Count + 1));
                losses.Add(report.Loss);
            };
            trainer.Run();
            return [.. losses];
        }
    }

    [Test]
    public void A_run_stopped_anywhere_and_resumed_ends_with_the_same_bits()
    {
        SimClrConfig config = Config() with { CheckpointEverySteps = 5, HealthImages = 8 };
        using SimClrTrainer whole = Start("whole", config);
        string expected = whole.Run().Checkpoint.WeightsHash;
        using (SimClrTrainer first = Start("parts", config))
        {
            using var stop = new CancellationTokenSource();
            first.StepEnded += report => { if (report.Step == 7) stop.Cancel(); };
            TrainingResult stopped = first.Run(stop.Token);
            Assert.That(stopped.Completed, Is.False);
            Assert.That(stopped.Checkpoint.Step, Is.InRange(7, 19));
        }
        using SimClrTrainer second = SimClrTrainer.Resume(Path.Combine(_directory, "parts"), SimClrTrainerTests.Bars(80), Cuda);
        TrainingResult resumed = second.Run();
        Assert.That(resumed.Checkpoint.WeightsHash, Is.EqualTo(expected));
        Assert.That(resumed.Checkpoint.State.EpochLossSum, Is.Zero);
        Assert.That(File.ReadLines(Path.Combine(_directory, "parts", Metrics.FileName)).Count(l => l.Contains("\"step\"")),
            Is.EqualTo(File.ReadLines(Path.Combine(_directory, "whole", Metrics.FileName)).Count(l => l.Contains("\"step\""))));
    }

    [Test]
    public void Images_kept_on_the_device_or_sent_in_batches_give_the_same_bits()
    {
        using SimClrTrainer kept = Start("kept", Config());
        string expected = kept.Run().Checkpoint.WeightsHash;
        long before = Cuda.ImageBytesGranted;
        Cuda.ImageBytesGranted = 80 * 144 - 1;
        try
        {
            Assert.That(DeviceImages.Load(SimClrTrainerTests.Bars(80), Cuda), Is.Null);
            using SimClrTrainer sent = Start("sent", Config());
            Assert.That(sent.Run().Checkpoint.WeightsHash, Is.EqualTo(expected));
        }
        finally { Cuda.ImageBytesGranted = before; }
        using Tensor? all = DeviceImages.Load(SimClrTrainerTests.Bars(80), Cuda);
        Assert.That(all!.Shape, Is.EqualTo(new Shape(80, 144)));
        Assert.That(DeviceImages.Load(SimClrTrainerTests.Bars(80), Device.Cpu), Is.Null);
    }

    [TestCase(0, "read with others")]
    [TestCase(3, "read for a checkpoint")]
    public void A_loss_that_is_not_finite_is_reported_before_anything_is_saved(int checkpointEvery, string why)
    {
        using SimClrTrainer trainer = Start("a", Config() with { CheckpointEverySteps = checkpointEvery });
        trainer.Save();
        trainer.Encoder.NamedParameters()[0].Tensor.CopyFrom(Tensor.Full(trainer.Encoder.NamedParameters()[0].Tensor.Shape, float.NaN));
        var steps = new List<long>();
        trainer.StepEnded += report => steps.Add(report.Step);
        Assert.That(() => trainer.Run(), Throws.TypeOf<TrainingFailedException>().With.Message.Contains("step 0").And.Message.Contains("loss is not finite"), why);
        Assert.That(trainer.Step, Is.EqualTo(checkpointEvery == 0 ? LossReader.MostSteps : checkpointEvery));
        Assert.That(steps, Is.Empty);
        Assert.That(Checkpoint.Open(Path.Combine(_directory, "a")).Step, Is.Zero);
    }

    [TestCase(OptimizerKind.AdamW)]
    [TestCase(OptimizerKind.Lars)]
    public void Sixteen_steps_wait_for_the_device_once(OptimizerKind optimizer)
    {
        using SimClrTrainer trainer = Start("a", Config() with { Optimizer = optimizer });
        trainer.Save();
        using (Tensor? images = DeviceImages.Load(SimClrTrainerTests.Bars(80), Cuda)) { } // kernels and pinned memory are there
        long before = Cuda.Waits, first = 0;
        trainer.StepEnded += report => first = report.Step == 1 ? Cuda.Waits : first;
        trainer.Run();
        Assert.That(first - before, Is.EqualTo(1));
    }

    [Test]
    public void Steps_leave_no_memory_behind()
    {
        using SimClrTrainer trainer = Start("a", Config() with { Epochs = 2 });
        var live = new List<long>();
        trainer.EpochEnded += _ => live.Add(Cuda.Memory.LiveBytes);
        trainer.Run();
        Assert.That(live, Has.Count.EqualTo(2));
        Assert.That(live[1], Is.EqualTo(live[0]));
    }
}
