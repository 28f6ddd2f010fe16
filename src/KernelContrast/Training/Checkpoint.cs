using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using KernelContrast.Nn;

namespace KernelContrast.Training;

/// <summary>
/// A saved run: one safetensors file that holds encoder, head, optimizer, the encoder's average if there is one
/// and, in its metadata, configuration and position. One file is replaced in one rename, so a run killed at any moment has a whole checkpoint: the last, or the
/// one before. A readable copy of the metadata lies beside it as JSON; nothing reads it.
/// </summary>
public sealed class Checkpoint
{
    /// <summary>The file's name within a run's directory.</summary>
    public const string FileName = "checkpoint.safetensors";

    private const string MetadataKey = "kernelcontrast";
    private const string Format = "simclr/1";
    internal const string EncoderPrefix = "encoder.", HeadPrefix = "head.", AveragePrefix = "ema.", OptimizerPrefix = "optimizer.";

    private readonly RunState _state;

    private Checkpoint(string path, RunState state)
    {
        Path = path;
        _state = state;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>What the run was started with.</summary>
    public SimClrConfig Config => _state.Config;

    /// <summary>Steps done.</summary>
    public long Step => _state.Step;

    /// <summary>Steps of the whole run.</summary>
    public long TotalSteps => _state.StepsPerEpoch * Config.Epochs;

    /// <summary>Whole epochs done.</summary>
    public int Epoch => (int)(_state.Step / _state.StepsPerEpoch);

    /// <summary>
    /// CPU threads that computed, on which the order of sums depends: resumed with as many, a run ends with the same bits.
    /// 0 when it ran on another device, or was saved by a version that did not keep this.
    /// </summary>
    public int Threads => _state.Threads;

    /// <summary>Whether the run keeps an average of its encoder over the steps (<see cref="SimClrConfig.EmaDecay"/>).</summary>
    public bool HasAverage => Config.EmaDecay > 0;

    /// <summary>SHA-256 of weights, running statistics and optimizer state, in hexadecimal: equal for equal bits.</summary>
    public string WeightsHash => _state.WeightsHash;

    internal RunState State => _state;

    /// <summary>Opens a checkpoint: its file, or the directory of its run.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="DataFormatException">The file is damaged, or no checkpoint.</exception>
    public static Checkpoint Open(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        string file = Directory.Exists(path) ? System.IO.Path.Combine(path, FileName) : path;
        if (!File.Exists(file))
            throw new FileNotFoundException($"{path}: there is no checkpoint here. Give the directory of a run, or its {FileName}; a run stopped before it saved one starts again without --resume.", file);
        using var reader = new SafetensorsReader(file);
        if (!reader.Metadata.TryGetValue(MetadataKey, out string? json))
            throw new DataFormatException(file, 8, $"expected a checkpoint with '{MetadataKey}' in its metadata, found plain tensors.");
        RunState state;
        try
        {
            state = JsonSerializer.Deserialize(json, TrainingJson.Default.RunState) ?? throw new JsonException("It is null.");
            state.Config.Check();
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new DataFormatException(file, 8, $"expected a checkpoint's state in its metadata ({e.Message})", e);
        }
        if (state.Format != Format)
            throw new DataFormatException(file, 8, $"expected a checkpoint of format {Format}, found '{state.Format}': it is from another version.");
        if (state.StepsPerEpoch < 1 || state.Step < 0 || state.OptimizerSteps < 0 || state.Step > state.StepsPerEpoch * state.Config.Epochs)
            throw new DataFormatException(file, 8, $"expected a step within the run's {state.Config.Epochs} epochs of {state.StepsPerEpoch}, found {state.Step}.");
        if (state.Seconds is not (>= 0 and < 1e11) || !double.IsFinite(state.EpochLossSum))
            throw new DataFormatException(file, 8, $"expected the seconds and the sum of losses so far, found {state.Seconds} and {state.EpochLossSum}.");
        // Before anything of the configured size is made: a network has no more weights than the file.
        CheckWeights("encoder", EncoderPrefix, held => state.Config.Encoder.CountWeights(most: held));
        CheckWeights("head", HeadPrefix, _ => state.Config.CountHeadWeights());
        return new Checkpoint(file, state);

        void CheckWeights(string what, string prefix, Func<long, long> wanted)
        {
            long held = reader.Entries.Where(e => e.Name.StartsWith(prefix, StringComparison.Ordinal)).Sum(e => e.Shape.Count);
            if (wanted(held) > held)
                throw new DataFormatException(file, 8, $"expected the weights of the {what} that its configuration describes, but the {held} numbers of '{prefix}…' in the file are fewer.");
        }
    }

    /// <summary>Compares every tensor of the file with <see cref="WeightsHash"/>.</summary>
    /// <exception cref="DataFormatException">They are not what was written.</exception>
    public void Verify()
    {
        using var reader = new SafetensorsReader(Path);
        // In the order they were written in, one at a time.
        if (Hash(reader.Entries.OrderBy(e => e.Begin).Select(e => (e.Name, reader.Read(e.Name))), owned: true) != WeightsHash)
            throw new DataFormatException(Path, 0, "expected tensors with the checksum in the metadata: the file was damaged after it was written.");
    }

    /// <summary>
    /// The encoder with the saved weights, in evaluation mode. Where the run keeps an average of it over the steps
    /// (<see cref="HasAverage"/>), this is the average, its running statistics included.
    /// </summary>
    /// <param name="device">Where it is wanted; the CPU when null.</param>
    /// <param name="last">Whether the encoder as the last step left it is wanted in any case, in place of the average.</param>
    /// <exception cref="DataFormatException">The file is damaged.</exception>
    /// <exception cref="ArgumentException">Its tensors do not fit the saved configuration; they are listed.</exception>
    public ResNet LoadEncoder(Device? device = null, bool last = false)
    {
        Verify();
        ResNet encoder = Config.MakeEncoder();
        StateDict.Load(encoder, Path, prefix: HasAverage && !last ? AveragePrefix : EncoderPrefix);
        return (device is null ? encoder : encoder.To(device)).Eval();
    }

    /// <summary>The projection head with the saved weights, in evaluation mode.</summary>
    /// <inheritdoc cref="LoadEncoder" path="/exception"/>
    public Sequential LoadHead(Device? device = null)
    {
        Verify();
        Sequential head = Config.MakeHead();
        StateDict.Load(head, Path, prefix: HeadPrefix);
        return (device is null ? head : head.To(device)).Eval();
    }

    /// <summary>Reads the tensors whose names begin with a prefix, without it.</summary>
    internal Dictionary<string, Tensor> Read(string prefix)
    {
        using var reader = new SafetensorsReader(Path);
        return reader.Entries.Where(e => e.Name.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(e => e.Name[prefix.Length..], e => reader.Read(e.Name));
    }

    /// <summary>Removes what a killed run left half-written: of the checkpoint, or of its readable copy.</summary>
    internal static void RemoveLeftovers(string path)
    {
        AtomicFile.RemoveLeftovers(path);
        AtomicFile.RemoveLeftovers(System.IO.Path.ChangeExtension(path, ".json"));
    }

    /// <summary>Replaces the checkpoint of a directory.</summary>
    internal static Checkpoint Save(string directory, RunState state, IReadOnlyList<(string Name, Tensor Tensor)> tensors)
    {
        state = state with { Format = Format, WeightsHash = Hash(tensors) };
        string json = JsonSerializer.Serialize(state, TrainingJson.Default.RunState);
        string path = System.IO.Path.Combine(directory, FileName);
        Safetensors.Write(path, tensors.Select(t => KeyValuePair.Create(t.Name, t.Tensor)), new Dictionary<string, string> { [MetadataKey] = json });
        AtomicFile.Write(System.IO.Path.ChangeExtension(path, ".json"), stream => stream.Write(Encoding.UTF8.GetBytes(json + "\n")));
        return new Checkpoint(path, state);
    }

    /// <summary>SHA-256 over names and elements.</summary>
    /// <param name="tensors">In the order that counts.</param>
    /// <param name="owned">Whether each is released once it was read.</param>
    internal static string Hash(IEnumerable<(string Name, Tensor Tensor)> tensors, bool owned = false)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string name, Tensor tensor) in tensors)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(name));
            hash.AppendData(MemoryMarshal.AsBytes(tensor.ToArray().AsSpan()));
            if (owned) tensor.Dispose();
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
