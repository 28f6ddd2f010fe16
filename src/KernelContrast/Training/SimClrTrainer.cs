using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Devices;
using KernelContrast.Losses;
using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Training;

/// <summary>
/// Trains an encoder without labels by SimCLR: two views of every image, an encoder and a projection head, and NT-Xent
/// between the views. Saves checkpoints a killed run goes on from, to the same bits.
/// </summary>
/// <remarks>
/// Chen, Kornblith, Norouzi, Hinton: "A simple framework for contrastive learning of visual representations", ICML 2020.
/// Equal bits need the same device, number of threads and vector width as before.
/// </remarks>
/// <example><code>
/// using var trainer = SimClrTrainer.Start(new SimClrConfig { Epochs = 15 }, data, "runs/first");
/// trainer.EpochEnded += report => Console.WriteLine($"{report.Epoch}: {report.Loss:F3}");
/// trainer.Run();
/// </code></example>
public sealed class SimClrTrainer : IDisposable
{
    private const int SpeedWindow = 50;

    private readonly IImageDataset _data;
    private readonly string _dataMark;
    private readonly BatchLoader _loader;
    private readonly Pipeline _pipeline, _healthPipeline;
    private readonly Optimizer _optimizer;
    private readonly Ema? _ema;
    private readonly Schedule _schedule;
    private readonly RunWatch _watch;
    private readonly ImageBatch? _chunk;
    private readonly LossReader _losses = new();
    private readonly Stopwatch _clock = new();
    private readonly Queue<double> _stepSeconds = new();
    private double _secondsBefore, _epochLossSum, _readAt;
    private Tensor? _images;
    private Checkpoint? _last;
    // Both last: a run that is refused leaves the directory as it was.
    private DirectoryLock? _lock;
    private Metrics? _metrics;

    private SimClrTrainer(SimClrConfig config, IImageDataset data, string directory, Device device, long step)
    {
        (Config, _data, Directory, Device, Step) = (config, data, directory, device, step);
        if (data.Channels != config.Encoder.InputChannels)
            throw new ArgumentException($"The images have {data.Channels} channel{(data.Channels == 1 ? "" : "s")}, but the encoder takes {config.Encoder.InputChannels}. Set the encoder's input channels.");
        _dataMark = MarkOf(data);
        bool chunked = config.ChunkSize < config.BatchSize;
        // A large batch's images would be there four times over (read ahead), for nothing where they are in memory anyway.
        _loader = new BatchLoader(data, config.BatchSize, config.Seed) { LeavesUnread = chunked && data.IsInMemory };
        if (chunked) _chunk = new ImageBatch(data, config.ChunkSize);
        _pipeline = config.MakePipeline(config.Seed);
        _healthPipeline = config.MakePipeline(~config.Seed);
        Encoder = config.MakeEncoder().To(device);
        Head = config.MakeHead().To(device);
        _optimizer = config.MakeOptimizer([.. Prefixed(Encoder.NamedParameters(), Checkpoint.EncoderPrefix), .. Prefixed(Head.NamedParameters(), Checkpoint.HeadPrefix)]);
        if (config.EmaDecay > 0)
        {
            Average = config.MakeEncoder().To(device).Freeze().Eval(); // the weights that the encoder starts from
            // running statistics too: the average embeds nothing while it is trained, so it gathers none
            _ema = new Ema(Average.NamedTensors(), Encoder.NamedTensors(), config.EmaDecay, forgetsStart: true) { Steps = step };
        }
        _schedule = config.MakeSchedule(StepsPerEpoch);
        _watch = new RunWatch(config, (long)(config.WarmupEpochs * StepsPerEpoch));
    }

    /// <summary>Begins a run.</summary>
    /// <param name="config">What to do.</param>
    /// <param name="data">The images; their labels are not looked at.</param>
    /// <param name="directory">Where checkpoint and metrics go; made when missing.</param>
    /// <param name="device">Where to compute; the CPU when null.</param>
    /// <param name="overwrite">Whether a run that is there already may be replaced.</param>
    /// <exception cref="ArgumentException">The configuration is wrong, or does not fit the data.</exception>
    /// <exception cref="IOException">There is a run in the directory already, another process is at work there, or it cannot be written.</exception>
    public static SimClrTrainer Start(SimClrConfig config, IImageDataset data, string directory, Device? device = null, bool overwrite = false)
    {
        ArgumentNullException.ThrowIfNull(directory);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(data);
        config.Check();
        return new SimClrTrainer(config, data, directory, device ?? KernelContrast.Device.Cpu, step: 0).Owning(trainer =>
        {
            trainer._lock = DirectoryLock.Take(directory);
            string file = Path.Combine(directory, Checkpoint.FileName);
            if (File.Exists(file) && !overwrite)
                throw new IOException($"{directory} holds a run already. Resume it, or choose another directory.");
            Checkpoint.RemoveLeftovers(file);
            File.Delete(file);
            File.Delete(Path.ChangeExtension(file, ".json"));
            trainer._metrics = new Metrics(directory, step: 0);
        });
    }

    /// <summary>Goes on with the run of a directory, from its last checkpoint.</summary>
    /// <exception cref="FileNotFoundException">There is no checkpoint.</exception>
    /// <exception cref="DataFormatException">The checkpoint is damaged.</exception>
    /// <exception cref="ArgumentException">The data are not those the run began with.</exception>
    /// <exception cref="IOException">Another process is at work in the directory, or it cannot be written.</exception>
    public static SimClrTrainer Resume(string directory, IImageDataset data, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        ArgumentNullException.ThrowIfNull(data);
        directory = Path.GetDirectoryName(Path.GetFullPath(Checkpoint.Open(directory).Path))!;
        DirectoryLock held = DirectoryLock.Take(directory);
        try
        {
            // Now nobody replaces it any more.
            Checkpoint checkpoint = Checkpoint.Open(directory);
            Checkpoint.RemoveLeftovers(checkpoint.Path);
            string mark = MarkOf(data);
            if (mark != checkpoint.State.Data)
                throw new ArgumentException($"The run in {directory} began with other images ({checkpoint.State.Data}) than these ({mark}). Give the same data to go on.");
            return new SimClrTrainer(checkpoint.Config, data, directory, device ?? KernelContrast.Device.Cpu, checkpoint.Step).Owning(trainer =>
            {
                trainer.Restore(checkpoint);
                trainer._metrics = new Metrics(directory, checkpoint.Step);
                trainer._lock = held;
            });
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    /// <summary>Finishes what is under construction, or releases it.</summary>
    private SimClrTrainer Owning(Action<SimClrTrainer> finish)
    {
        try
        {
            finish(this);
            return this;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>What the run was started with.</summary>
    public SimClrConfig Config { get; }

    /// <summary>Where checkpoint and metrics are.</summary>
    public string Directory { get; }

    /// <summary>Where it computes.</summary>
    public Device Device { get; }

    /// <summary>What is wanted in the end.</summary>
    public ResNet Encoder { get; }

    /// <summary>The average of <see cref="Encoder"/> over the steps, weights and running statistics; null when none is kept.</summary>
    public ResNet? Average { get; }

    /// <summary>What is thrown away in the end.</summary>
    public Sequential Head { get; }

    /// <summary>Steps done.</summary>
    public long Step { get; private set; }

    /// <summary>Steps of an epoch.</summary>
    public int StepsPerEpoch => _loader.BatchesPerEpoch;

    /// <summary>Steps of the run.</summary>
    public long TotalSteps => (long)StepsPerEpoch * Config.Epochs;

    /// <summary>
    /// Called after each step, in order, on the thread that runs. On a GPU the losses are read some steps at a time, so that it may
    /// come up to 16 steps late, but always before a checkpoint that holds the step.
    /// </summary>
    public event Action<StepReport>? StepEnded;

    /// <summary>Called after each epoch, on the thread that runs.</summary>
    public event Action<EpochReport>? EpochEnded;

    /// <summary>Called with what looks wrong and what to try; each thing once.</summary>
    public event Action<string>? Warning;

    /// <summary>
    /// Trains up to the last step, or until asked to stop; then it finishes the step it is in and saves.
    /// </summary>
    /// <exception cref="TrainingFailedException">The loss or a weight is no longer finite; the last checkpoint stays.</exception>
    /// <exception cref="IOException">A checkpoint could not be written; the one before stays.</exception>
    /// <exception cref="DataFormatException">An image cannot be read.</exception>
    public TrainingResult Run(CancellationToken stop = default)
    {
        _clock.Start();
        Encoder.Train();
        Head.Train();
        // From here on, a run killed at any moment can be resumed.
        Checkpoint saved = _last ?? Save();
        _loader.Resident = _images ??= DeviceImages.Load(_data, Device);
        bool stopping = stop.IsCancellationRequested;
        while (Step < TotalSteps && !stopping)
        {
            int epoch = (int)(Step / StepsPerEpoch);
            _readAt = _clock.Elapsed.TotalSeconds;
            foreach (ImageBatch batch in _loader.Epoch(epoch, (int)(Step % StepsPerEpoch)))
            {
                DoStep(batch, epoch);
                bool epochEnds = Step % StepsPerEpoch == 0, saves = Config.CheckpointEverySteps > 0 && Step % Config.CheckpointEverySteps == 0;
                if (!Device.RunsBehind || epochEnds || saves || _losses.Count == LossReader.MostSteps || stop.IsCancellationRequested)
                {
                    StepReport last = ReportSteps(epoch);
                    if (epochEnds) EndEpoch(last);
                }
                stopping = stop.IsCancellationRequested;
                if (epochEnds || stopping || saves) saved = Save();
                if (stopping) break;
                if (!Device.RunsBehind) _readAt = _clock.Elapsed.TotalSeconds;
            }
        }
        _clock.Stop();
        return new(Step == TotalSteps, saved, Elapsed);
    }

    /// <summary>Writes a checkpoint now.</summary>
    /// <exception cref="TrainingFailedException">A weight is not finite.</exception>
    /// <exception cref="IOException">It could not be written; the one before stays.</exception>
    public Checkpoint Save()
    {
        if (_losses.Count > 0) ReportSteps((int)((Step - 1) / StepsPerEpoch));
        IReadOnlyList<(string Name, Tensor Tensor)> tensors = Tensors();
        foreach ((string name, Tensor tensor) in tensors)
            if (Array.Exists(tensor.ToArray(), value => !float.IsFinite(value)))
                throw new TrainingFailedException(RunWatch.NotFinite(Step, _optimizer.LearningRate, $"'{name}' holds numbers that are not finite", _last?.Path));
        return _last = Checkpoint.Save(Directory, new RunState
        {
            Config = Config,
            Step = Step,
            OptimizerSteps = _optimizer.Steps,
            Threads = Device is CpuDevice ? Device.Cpu.Threads : 0,
            StepsPerEpoch = StepsPerEpoch,
            Data = _dataMark,
            EpochLossSum = _epochLossSum,
            Seconds = Elapsed.TotalSeconds,
        }, tensors);
    }

    /// <summary>Releases weights and optimizer state, and closes the metrics.</summary>
    public void Dispose()
    {
        _metrics?.Dispose();
        _lock?.Dispose();
        _losses.Dispose();
        _images?.Dispose();
        _optimizer.Dispose();
        _ema?.Dispose();
        Average?.Dispose();
        Encoder.Dispose();
        Head.Dispose();
    }

    private TimeSpan Elapsed => TimeSpan.FromSeconds(_secondsBefore + _clock.Elapsed.TotalSeconds);

    private void DoStep(ImageBatch batch, int epoch)
    {
        using (var scope = new TensorScope())
        {
            _optimizer.ClearGradients();
            GradientCache? cache = CacheFor(batch, epoch);
            Tensor embeddings = cache?.Forward() ?? Embed(batch, epoch);
            Tensor loss = NtXent.Loss(embeddings, (float)Config.Temperature, PairLayout.Halves);
            // where ops have finished once they return, nothing is changed by a loss that is not finite
            if (!Device.RunsBehind) CheckLoss(loss.Item(), Step);
            loss.Backward();
            cache?.Backward();
            _optimizer.LearningRate = _schedule.At(Step);
            _optimizer.Step();
            _ema?.Update();
            _losses.Add(scope.Keep(loss.Detach()));
        }
        Step++;
    }

    /// <summary>Reads the losses of the steps since the last call, all of one epoch, and reports each of them.</summary>
    private StepReport ReportSteps(int epoch)
    {
        long first = Step - _losses.Count;
        float[] losses = _losses.Read();
        double each = (_clock.Elapsed.TotalSeconds - _readAt) / losses.Length; // waiting for data counts
        _readAt = _clock.Elapsed.TotalSeconds;
        var reports = new StepReport[losses.Length];
        for (int i = 0; i < losses.Length; i++)
        {
            long step = first + i;
            CheckLoss(losses[i], step);
            _epochLossSum += losses[i];
            _stepSeconds.Enqueue(each);
            if (_stepSeconds.Count > SpeedWindow) _stepSeconds.Dequeue();
            double seconds = _stepSeconds.Average();
            reports[i] = new(epoch + 1, Config.Epochs, step + 1, TotalSteps, losses[i], _schedule.At(step), Config.BatchSize / seconds, Elapsed,
                TimeSpan.FromSeconds(seconds * (TotalSteps - step - 1)));
            if (Config.LogEverySteps > 0 && (step + 1) % Config.LogEverySteps == 0) _metrics!.Add(reports[i]);
        }
        foreach (StepReport report in reports)
        {
            StepEnded?.Invoke(report);
            if (_watch.OnStep(report.Step, report.Loss) is { } warning) Warning?.Invoke(warning);
        }
        return reports[^1];
    }

    private void CheckLoss(double loss, long step)
    {
        if (!double.IsFinite(loss))
            throw new TrainingFailedException(RunWatch.NotFinite(step, _schedule.At(step), "The loss is not finite", _last?.Path));
    }

    /// <summary>
    /// Both views, in the numbers that the encoder's first product takes: rounded as they are made, they are what it would
    /// have rounded them to, in half of the memory.
    /// </summary>
    internal Tensor Views(ImageBatch batch, int epoch) => _pipeline.TwoViews(batch, epoch, Device, Autocast.ResultType(Device, Config.Precision));

    /// <summary>The embeddings of both views, [2N, D].</summary>
    private Tensor Embed(ImageBatch batch, int epoch)
    {
        Tensor views = Views(batch, epoch);
        using (Autocast.To(Config.Precision)) return Head.Forward(Encoder.Forward(views)).To(DType.Float32);
    }

    /// <summary>A step in chunks; null when the batch goes through at once. Views depend on image and epoch alone, so a chunk's are made again, not kept.</summary>
    private GradientCache? CacheFor(ImageBatch batch, int epoch)
    {
        if (_chunk is null) return null;
        int size = Config.ChunkSize, chunks = (batch.Count + size - 1) / size;
        return new(chunks, chunk => Embed(_chunk.Fill(batch, chunk * size, Math.Min(size, batch.Count - chunk * size)), epoch), views: 2, Encoder, Head);
    }

    private void EndEpoch(StepReport last)
    {
        EmbeddingHealth? health = Config.HealthImages > 1 && _data.Count > 1 ? MeasureHealth() : null;
        var report = new EpochReport(last.Epoch, last.Epochs, Step, TotalSteps, _epochLossSum / StepsPerEpoch, last.LearningRate,
            last.ImagesPerSecond, Elapsed, last.Left, health);
        _epochLossSum = 0;
        _metrics!.Add(report);
        EpochEnded?.Invoke(report);
        if (health is not null && _watch.OnEpoch(report.Epoch, health) is { } warning) Warning?.Invoke(warning);
    }

    /// <summary>Looks at the first images through the same views each time, in evaluation mode; changes nothing of the run.</summary>
    private EmbeddingHealth MeasureHealth()
    {
        Encoder.Eval();
        Head.Eval();
        try
        {
            using var unrecorded = new NoGrad();
            int count = Math.Min(Config.HealthImages, _data.Count);
            var embeddings = new[] { new List<float>(), new List<float>() };
            var features = new List<float>();
            for (int start = 0; start < count; start += Config.ChunkSize)
            {
                int[] indices = [.. Enumerable.Range(start, Math.Min(Config.ChunkSize, count - start))];
                ImageBatch batch = new ImageBatch(_data, indices.Length, _images).Fill(_data, indices);
                for (int view = 0; view < 2; view++)
                {
                    using var scope = new TensorScope();
                    Tensor h = Encoder.Forward(_healthPipeline.View(batch, epoch: 0, view, Device));
                    embeddings[view].AddRange(Head.Forward(h).ToArray());
                    if (view == 0) features.AddRange(h.ToArray());
                }
            }
            float[][] z = [[.. embeddings[0]], [.. embeddings[1]]];
            if (!Array.TrueForAll(z[0], float.IsFinite) || !features.TrueForAll(float.IsFinite))
                throw new TrainingFailedException(RunWatch.NotFinite(Step, _optimizer.LearningRate, "The embeddings are not finite", _last?.Path));
            return EmbeddingHealth.Measure(z[0], z[1], Config.HeadOutputs, [.. features], Encoder.FeatureCount);
        }
        finally
        {
            Encoder.Train();
            Head.Train();
        }
    }

    private void Restore(Checkpoint checkpoint)
    {
        RunState state = checkpoint.State;
        if (state.StepsPerEpoch != StepsPerEpoch)
            throw new ArgumentException($"The run in {Directory} had {state.StepsPerEpoch} steps per epoch, but these data give {StepsPerEpoch}.");
        StateDict.Load(Encoder, checkpoint.Path, prefix: Checkpoint.EncoderPrefix);
        StateDict.Load(Head, checkpoint.Path, prefix: Checkpoint.HeadPrefix);
        if (Average is not null) StateDict.Load(Average, checkpoint.Path, prefix: Checkpoint.AveragePrefix);
        Dictionary<string, Tensor> saved = checkpoint.Read(Checkpoint.OptimizerPrefix);
        try { _optimizer.LoadState(saved, state.OptimizerSteps); }
        finally { foreach (Tensor tensor in saved.Values) tensor.Dispose(); }
        string hash = Checkpoint.Hash(Tensors());
        if (hash != state.WeightsHash)
            throw new DataFormatException(checkpoint.Path, 0, "expected tensors with the checksum in the metadata: the file was damaged after it was written.");
        (_epochLossSum, _secondsBefore, _last) = (state.EpochLossSum, state.Seconds, checkpoint);
    }

    private List<(string Name, Tensor Tensor)> Tensors() =>
    [
        .. Prefixed(Encoder.NamedTensors(), Checkpoint.EncoderPrefix),
        .. Prefixed(Head.NamedTensors(), Checkpoint.HeadPrefix),
        .. Prefixed(_optimizer.State, Checkpoint.OptimizerPrefix),
        .. Prefixed(Average?.NamedTensors() ?? [], Checkpoint.AveragePrefix),
    ];

    private static IEnumerable<(string Name, Tensor Tensor)> Prefixed(IEnumerable<(string Name, Tensor Tensor)> tensors, string prefix) =>
        tensors.Select(t => (prefix + t.Name, t.Tensor));

    /// <summary>Number and size of the images, and a checksum of 64 of them.</summary>
    private static string MarkOf(IImageDataset data)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var pixels = new byte[data.PixelsPerImage];
        int samples = Math.Min(64, data.Count);
        for (int i = 0; i < samples; i++)
        {
            data.Read((int)((long)i * data.Count / samples), pixels);
            hash.AppendData(pixels);
        }
        return string.Create(CultureInfo.InvariantCulture,
            $"{data.Count} images of {data.Channels}×{data.Height}×{data.Width}, checksum {Convert.ToHexStringLower(hash.GetHashAndReset())[..16]}");
    }
}
