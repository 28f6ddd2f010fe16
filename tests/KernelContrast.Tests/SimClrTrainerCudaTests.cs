using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Devices;
using KernelContrast.Losses;
using KernelContrast.Nn;
using KernelContrast.Optim;
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

    [TestCase(OptimizerKind.AdamW, 0)]
    [TestCase(OptimizerKind.Lars, 0)]
    [TestCase(OptimizerKind.AdamW, 0.99)]
    public void Sixteen_steps_wait_for_the_device_once(OptimizerKind optimizer, double emaDecay)
    {
        using SimClrTrainer trainer = Start("a", Config() with { Optimizer = optimizer, EmaDecay = emaDecay });
        trainer.Save();
        using (Tensor? images = DeviceImages.Load(SimClrTrainerTests.Bars(80), Cuda)) { } // kernels and pinned memory are there
        long before = Cuda.Waits, first = 0;
        trainer.StepEnded += report => first = report.Step == 1 ? Cuda.Waits : first;
        trainer.Run();
        Assert.That(first - before, Is.EqualTo(1));
    }

    [Test]
    public void Views_are_made_in_the_numbers_that_the_encoder_takes()
    {
        ImageBatch batch = ImageBatch.Of(SimClrTrainerTests.Bars(80), 0, 4);
        foreach ((Device device, Precision precision, DType type) in new (Device, Precision, DType)[]
        {
            (Cuda, Precision.BFloat16, DType.BFloat16), (Cuda, Precision.Float32, DType.Float32), (Cuda, Precision.Tf32, DType.Float32),
            (Device.Cpu, Precision.BFloat16, DType.Float32), // which computes in float32
        })
        {
            using SimClrTrainer trainer = Start($"{device}-{precision}", Config() with { Precision = precision }, device);
            using Tensor views = trainer.Views(batch, epoch: 0);
            Assert.That(views.Type, Is.EqualTo(type), trainer.Directory);
        }
    }

    /// <summary>The same run by hand, with float32 views, which the first convolution then rounds.</summary>
    [Test]
    public void Rounded_views_change_no_bit_of_a_run()
    {
        SimClrConfig config = Config() with { Precision = Precision.BFloat16, Augmentation = "simclr" };
        MemoryDataset data = SimClrTrainerTests.Bars(80);
        using SimClrTrainer trainer = Start("a", config);
        var losses = new List<double>();
        trainer.StepEnded += report => losses.Add(report.Loss);
        trainer.Run();

        using ResNet encoder = config.MakeEncoder().To(Cuda);
        using Sequential head = config.MakeHead().To(Cuda);
        using Optimizer optimizer = config.MakeOptimizer([.. encoder.NamedParameters().Select(p => ("encoder." + p.Name, p.Tensor)), .. head.NamedParameters()]);
        Pipeline pipeline = config.MakePipeline(config.Seed);
        Schedule schedule = config.MakeSchedule(trainer.StepsPerEpoch);
        var expected = new List<double>();
        foreach (ImageBatch batch in new BatchLoader(data, config.BatchSize, config.Seed).Epoch(0, 0))
        {
            using var scope = new TensorScope();
            optimizer.ClearGradients();
            Tensor embeddings;
            using (Autocast.To(Precision.BFloat16)) embeddings = head.Forward(encoder.Forward(pipeline.TwoViews(batch, 0, Cuda))).To(DType.Float32);
            Tensor loss = NtXent.Loss(embeddings, (float)config.Temperature, PairLayout.Halves);
            loss.Backward();
            optimizer.LearningRate = schedule.At(expected.Count);
            optimizer.Step();
            expected.Add(loss.Item());
        }
        Assert.That(losses, Has.Count.EqualTo(20));
        Assert.That(losses, Is.EqualTo(expected));
        Assert.That(trainer.Encoder.NamedTensors().SelectMany(t => t.Tensor.ToArray()), Is.EqualTo(encoder.NamedTensors().SelectMany(t => t.Tensor.ToArray())));
    }

    [Test]
    public void Steps_leave_no_memory_behind()
    {
        using SimClrTrainer trainer = Start("a", Config() with { Epochs = 2, EmaDecay = 0.9 });
        var live = new List<long>();
        trainer.EpochEnded += _ => live.Add(Cuda.Memory.LiveBytes);
        trainer.Run();
        Assert.That(live, Has.Count.EqualTo(2));
        Assert.That(live[1], Is.EqualTo(live[0]));
    }
}
