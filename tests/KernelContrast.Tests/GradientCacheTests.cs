using KernelContrast.Datasets;
using KernelContrast.Losses;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Tests;

/// <summary>A batch in chunks is the whole batch: gradients, running statistics, runs, memory.</summary>
[TestFixture]
internal sealed class GradientCacheTests
{
    private const int Inputs = 6, Outputs = 5, Views = 2;

    private string _directory = "";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("kc-cache").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    /// <summary>One node over every chunk's tape: the definition, with the memory of the whole batch.</summary>
    [Test]
    public void Gradients_and_running_statistics_are_those_of_the_chunks_on_one_tape(
        [Values(Normalization.None, Normalization.Batch)] Normalization norm, [ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        using var scope = new TensorScope();
        Device device = Device.Parse(name);
        int[] chunks = [5, 5, 3];
        using Sequential cached = Net(norm, device), onTape = Net(norm, device);

        var cache = new GradientCache(chunks.Length, chunk => Embed(cached, chunk), Views, cached);
        Tensor loss = NtXent.Loss(cache.Forward(), 0.2f);
        loss.Backward();
        cache.Backward();

        Tensor[] embeddings = [.. Enumerable.Range(0, chunks.Length).Select(chunk => Embed(onTape, chunk))];
        Tensor expected = NtXent.Loss(Functional.Concat(
            [.. Enumerable.Range(0, Views).SelectMany(view => chunks.Select((size, c) => Functional.Slice(embeddings[c], 0, view * size, size)))], 0), 0.2f);
        expected.Backward();

        Assert.That(loss.Item(), Is.EqualTo(expected.Item()));
        foreach (((string tensor, Tensor a), (_, Tensor b)) in cached.NamedBuffers().Zip(onTape.NamedBuffers()))
            Assert.That(a.ToArray(), Is.EqualTo(b.ToArray()), tensor);
        foreach (((string tensor, Tensor a), (_, Tensor b)) in cached.NamedParameters().Zip(onTape.NamedParameters()))
            Close(a.Grad!, b.Grad!, 2e-6, tensor);

        // Dropout counted by chunk repeats itself; no two chunks share a mask.
        Tensor Embed(Sequential net, int chunk) => Functional.Dropout(
            net.Forward(Tensor.RandomNormal(new(Views * chunks[chunk], Inputs), 100 + (ulong)chunk, device)), 0.3f, seed: 1, stream: (ulong)chunk);
    }

    [Test]
    public void Without_batch_norm_gradients_are_those_of_the_whole_batch([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        using var scope = new TensorScope();
        Device device = Device.Parse(name);
        const int samples = 12, size = 5;
        using Sequential cached = Net(Normalization.None, device), whole = Net(Normalization.None, device);
        Tensor x = Tensor.RandomNormal(new(Views * samples, Inputs), 3, device);

        var cache = new GradientCache(3, chunk =>
        {
            int start = chunk * size, count = Math.Min(size, samples - start);
            return cached.Forward(Functional.Concat([Functional.Slice(x, 0, start, count), Functional.Slice(x, 0, samples + start, count)], 0));
        }, Views, cached);
        Tensor loss = NtXent.Loss(cache.Forward(), 0.1f);
        loss.Backward();
        cache.Backward();
        Tensor expected = NtXent.Loss(whole.Forward(x), 0.1f);
        expected.Backward();

        Assert.That(loss.Item(), Is.EqualTo(expected.Item()));
        foreach (((string tensor, Tensor a), (_, Tensor b)) in cached.NamedParameters().Zip(whole.NamedParameters()))
            Close(a.Grad!, b.Grad!, 2e-6, tensor);
    }

    [Test]
    public void Misuse_is_named()
    {
        using var scope = new TensorScope();
        using Sequential net = Net(Normalization.None, Device.Cpu);
        int calls = 0;
        var cache = new GradientCache(1, _ => net.Forward(Tensor.RandomNormal(new(calls++ == 0 ? 4 : 6, Inputs), 1)), Views, net);
        Assert.That(cache.Backward, Throws.InvalidOperationException.With.Message.Contains("Forward()"));
        Tensor embeddings = cache.Forward();
        Assert.That(cache.Backward, Throws.InvalidOperationException.With.Message.Contains("no gradient yet"));
        NtXent.Loss(embeddings).Backward();
        Assert.That(cache.Backward, Throws.InvalidOperationException.With.Message.Contains("4 embeddings").And.Message.Contains("same twice"));
        Assert.That(() => new GradientCache(1, _ => Tensor.Zeros(new(3, 2)), Views).Forward(), Throws.InvalidOperationException.With.Message.Contains("2 views"));
        Assert.That(() => new GradientCache(0, _ => net.Forward(embeddings), Views), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => (Config() with { MicroBatch = 65 }).Check(), Throws.ArgumentException.With.Message.Contains("64"));
    }

    /// <summary>Accumulated negatives: every image is contrasted with the whole batch, however it is cut.</summary>
    [TestCase(32), TestCase(48)]
    public void The_first_ten_losses_of_a_run_without_batch_norm_are_those_of_the_whole_batch(int microBatch)
    {
        SimClrConfig config = Config() with { BatchSize = 256 };
        double[] whole = Losses(config), chunked = Losses(config with { MicroBatch = microBatch });
        Assert.That(chunked[0], Is.EqualTo(whole[0]), "embeddings do not depend on the batch they come in");
        Assert.That(chunked, Is.EqualTo(whole).Within(1e-3).Percent);
        Assert.That(whole[9], Is.LessThan(whole[0] - 0.05), "it learned: the losses are of different weights");
        // Losses of small batches instead of accumulated negatives would be about ln 63, not ln 511.
        Assert.That(whole[0], Is.GreaterThan(6));
    }

    [Test]
    public void A_chunked_run_stopped_and_resumed_ends_with_the_same_bits([Values] Normalization norm)
    {
        SimClrConfig config = Config(norm) with { MicroBatch = 24, Epochs = 2 };
        using SimClrTrainer whole = SimClrTrainer.Start(config, Digits(192), Run("whole"));
        string expected = whole.Run().Checkpoint.WeightsHash;
        using (SimClrTrainer first = SimClrTrainer.Start(config, Digits(192), Run("parts")))
        {
            using var stop = new CancellationTokenSource();
            first.StepEnded += report => { if (report.Step == 3) stop.Cancel(); };
            Assert.That(first.Run(stop.Token).Completed, Is.False);
        }
        using SimClrTrainer second = SimClrTrainer.Resume(Run("parts"), Digits(192));
        Assert.That(second.Config.MicroBatch, Is.EqualTo(24));
        Assert.That(second.Run().Checkpoint.WeightsHash, Is.EqualTo(expected));
    }

    /// <summary>Of data in memory, batches carry indices only; of others, the images. It is the same run.</summary>
    [Test]
    public void A_chunked_run_is_the_same_wherever_its_images_are()
    {
        SimClrConfig config = Config() with { MicroBatch = 24, Epochs = 1 };
        string[] hashes = [.. new[] { Digits(192), new Elsewhere(Digits(192)) }.Select(data =>
        {
            using SimClrTrainer trainer = SimClrTrainer.Start(config, data, Run(Guid.NewGuid().ToString()));
            return trainer.Run().Checkpoint.WeightsHash;
        })];
        Assert.That(hashes[0], Is.EqualTo(hashes[1]));
    }

    /// <summary>The accounting of docs/design/training.md, at its tightest: the loss and a chunk are never in memory together.</summary>
    [Test]
    public void A_step_has_the_memory_of_one_chunk_or_of_the_loss_and_the_embeddings()
    {
        const int chunkSize = 20;
        // Of so few outputs no similarities are kept, which would be larger than a chunk of so small a network.
        SimClrConfig config = Config() with { HealthImages = 0, BatchSize = 512, HeadOutputs = 31 };
        long whole = Peak(config), chunked = Peak(config with { MicroBatch = chunkSize }), chunk = Peak(config with { BatchSize = chunkSize });
        long embeddings = 4L * Views * config.BatchSize * config.HeadOutputs;
        var call = new LossCall(LossKind.NtXent, Views * config.BatchSize, 0, config.HeadOutputs, (float)config.Temperature);
        long loss = call.SavedBytes(Device.Cpu) + call.WorkspaceBytes(Device.Cpu);
        Assert.That(loss, Is.GreaterThan(3 * embeddings), "so large that it would be seen beside a chunk");
        Assert.That(chunk, Is.GreaterThan(loss), "and a chunk beside it");
        Assert.That(whole, Is.GreaterThan(16 * chunk));
        // The embeddings and their gradient; and, for small tensors and the pool's size classes, half of that much of one.
        Assert.That(chunked, Is.LessThan(Math.Max(chunk, loss) + 2 * embeddings + embeddings / 2));

        long Peak(SimClrConfig config)
        {
            using SimClrTrainer trainer = SimClrTrainer.Start(config, Digits(1024), Run(Guid.NewGuid().ToString()));
            long peak = 0, before = 0;
            using var stop = new CancellationTokenSource();
            trainer.StepEnded += report =>
            {
                if (report.Step == 1)
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                    before = Device.Cpu.Memory.LiveBytes;
                    Device.Cpu.Pool.ResetPeak();
                }
                else
                {
                    peak = Device.Cpu.Memory.PeakLiveBytes - before;
                    stop.Cancel();
                }
            };
            trainer.Run(stop.Token);
            return peak;
        }
    }

    [Test]
    public void Without_norm_a_network_scales_and_shifts([Values] bool training)
    {
        using var scope = new TensorScope();
        using var norm = new BatchNorm1d(2, new Initializer(1), norm: Normalization.None);
        norm.Weight.CopyFrom(Tensor.From<float>([2, -3], new(2)));
        norm.Bias.CopyFrom(Tensor.From<float>([0.5f, 1], new(2)));
        if (!training) norm.Eval();
        Assert.That(norm.Forward(Tensor.From<float>([1, 2, -4, 0.1f], new(2, 2))).ToArray(), Is.EqualTo([2.5f, -5, -7.5f, -3 * 0.1f + 1]));
        Assert.That(norm.RunningMean.ToArray().Concat(norm.RunningVariance.ToArray()), Is.EqualTo([0f, 0, 1, 1]));
        using var net = new ResNet(ResNetConfig.ResNet50() with { Blocks = [1], Widths = [4], Norm = Normalization.None });
        Assert.That(net.NamedParameters().Single(p => p.Name == "layer1.0.bn3.weight").Tensor.ToArray(), Is.All.Zero);
    }

    private static Sequential Net(Normalization norm, Device device)
    {
        var random = new Initializer(4);
        return new Sequential(new Linear(Inputs, 8, random, bias: false), new BatchNorm1d(8, random, norm: norm), new Relu(), new Linear(8, Outputs, random)).To(device);
    }

    private static void Close(Tensor actual, Tensor expected, double tolerance, string name)
    {
        float[] a = actual.ToArray(), b = expected.ToArray();
        double scale = Math.Sqrt(b.Average(v => (double)v * v));
        Assert.That(scale, Is.GreaterThan(1e-4), name);
        Assert.That(a.Zip(b, (x, y) => Math.Abs((double)x - y)).Max(), Is.LessThan(tolerance * scale), name);
    }

    private static IImageDataset Digits(int count)
    {
        string? root = TestContext.CurrentContext.TestDirectory;
        while (root is not null && !File.Exists(Path.Combine(root, "KernelContrast.sln"))) root = Path.GetDirectoryName(root);
        return Dataset.Open(Path.Combine(root!, "data", "mnist"), Split.Test).Take(count);
    }

    private static SimClrConfig Config(Normalization norm = Normalization.None) => new()
    {
        Encoder = ResNetConfig.Small(8, 4, 8, 8) with { InputChannels = 1, Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection, Norm = norm },
        HeadOutputs = 8,
        Augmentation = "digits",
        BatchSize = 64,
        Epochs = 4,
        Temperature = 0.2,
        LearningRate = 0.02,
        WarmupEpochs = 0,
        Seed = 11,
        LogEverySteps = 1,
    };

    private double[] Losses(SimClrConfig config)
    {
        using SimClrTrainer trainer = SimClrTrainer.Start(config, Digits(1280), Run(Guid.NewGuid().ToString()));
        var losses = new List<double>();
        using var stop = new CancellationTokenSource();
        trainer.StepEnded += report =>
        {
            losses.Add(report.Loss);
            if (losses.Count == 10) stop.Cancel();
        };
        trainer.Run(stop.Token);
        return [.. losses];
    }

    private string Run(string name) => Path.Combine(_directory, name);

    private sealed class Elsewhere(IImageDataset data) : IImageDataset
    {
        public int Count => data.Count;
        public int Channels => data.Channels;
        public int Height => data.Height;
        public int Width => data.Width;
        public int ClassCount => data.ClassCount;
        public IReadOnlyList<string> ClassNames => data.ClassNames;
        public void Read(int index, Span<byte> pixels) => data.Read(index, pixels);
        public int Label(int index) => data.Label(index);
    }
}
