using System.Text.Json;
using System.Text.Json.Serialization;
using KernelContrast.Augment;
using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Training;

/// <summary>Which optimizer.</summary>
public enum OptimizerKind
{
    /// <summary><see cref="Optim.AdamW"/>.</summary>
    AdamW,
    /// <summary><see cref="Optim.Sgd"/>.</summary>
    Sgd,
    /// <summary><see cref="Optim.Lars"/>.</summary>
    Lars,
}

/// <summary>How the learning rate grows with the batch; see <see cref="BatchScaling"/>.</summary>
public enum RateScaling
{
    /// <summary>Not at all.</summary>
    None,
    /// <summary>rate · batch / 256.</summary>
    Linear,
    /// <summary>rate · √batch.</summary>
    SquareRoot,
}

/// <summary>
/// All that a SimCLR run depends on but its data: with the same data, device, number of threads and vector width, two
/// runs of equal configurations end with the same bits.
/// </summary>
public sealed record SimClrConfig
{
    /// <summary>The encoder, without a last layer (its classes are ignored).</summary>
    public ResNetConfig Encoder { get; set; } = ResNetConfig.Small(8) with { Shortcut = ResNetShortcut.Projection };

    /// <summary>The head between encoder and loss: one of <see cref="ProjectionHead.Names"/>.</summary>
    public string Head { get; set; } = "simclr-v1";

    /// <summary>Length of the embeddings the loss compares.</summary>
    public int HeadOutputs { get; set; } = 128;

    /// <summary>Width of the head's hidden layers; 0: as the encoder's features.</summary>
    public int HeadHidden { get; set; }

    /// <summary>The views: one of <see cref="AugmentPreset.Names"/>.</summary>
    public string Augmentation { get; set; } = "simclr";

    /// <summary>Rows and columns of the views; 0: as the images.</summary>
    public int ViewSize { get; set; }

    /// <summary>τ of the loss.</summary>
    public double Temperature { get; set; } = 0.5;

    /// <summary>Images per step; the loss compares twice as many views.</summary>
    public int BatchSize { get; set; } = 256;

    /// <summary>
    /// Images embedded at a time by <see cref="GradientCache"/>, so that a large batch needs the memory of this many; the
    /// loss still compares the whole batch. 0: the whole batch at once. Batch norm sees so many images.
    /// </summary>
    public int MicroBatch { get; set; }

    /// <summary>Times every image is seen. An incomplete last batch of an epoch is left out.</summary>
    public int Epochs { get; set; } = 100;

    /// <summary>The optimizer.</summary>
    public OptimizerKind Optimizer { get; set; }

    /// <summary>Highest learning rate, before <see cref="Scaling"/>.</summary>
    public double LearningRate { get; set; } = 4e-3;

    /// <summary>How the learning rate grows with the batch.</summary>
    public RateScaling Scaling { get; set; }

    /// <summary>Epochs of linear warm-up, before the cosine.</summary>
    public double WarmupEpochs { get; set; } = 1;

    /// <summary>
    /// Weight decay of weights (biases and normalisation parameters do not decay); null: the optimizer's usual, 0.01 for
    /// AdamW, 1e-4 for SGD, 1e-6 for LARS.
    /// </summary>
    public double? WeightDecay { get; set; }

    /// <summary>Momentum of SGD and LARS.</summary>
    public double Momentum { get; set; } = 0.9;

    /// <summary>Where LARS multiplies by the learning rate.</summary>
    public LarsMomentum LarsMomentum { get; set; }

    /// <summary>
    /// Above 0: beside the encoder an average of it over the steps is kept, of which this share stays at each step (0.999, say; the
    /// first ones less, see <see cref="Ema"/>'s forgetsStart), and <see cref="Checkpoint.LoadEncoder"/> gives the average. 0: none.
    /// Changes nothing of the training.
    /// </summary>
    public double EmaDecay { get; set; }

    /// <summary>
    /// In which numbers the networks' products are formed while training (<see cref="Autocast"/>); weights, the loss and the
    /// optimizer are float32 in every case.
    /// </summary>
    public Precision Precision { get; set; }

    /// <summary>Of weights, shuffles and views.</summary>
    public ulong Seed { get; set; }

    /// <summary>Steps between checkpoints within an epoch; 0: only at its end.</summary>
    public int CheckpointEverySteps { get; set; }

    /// <summary>Steps between lines in the metrics; 0: only epochs.</summary>
    public int LogEverySteps { get; set; } = 10;

    /// <summary>Images whose embeddings are measured after each epoch; 0: none.</summary>
    public int HealthImages { get; set; } = 1024;

    /// <summary>As JSON, every property with its value.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, TrainingJson.Default.SimClrConfig);

    /// <summary>Reads JSON; what is not there keeps its default.</summary>
    /// <exception cref="ArgumentException">The text is no such JSON, or has a property there is not.</exception>
    public static SimClrConfig FromJson(string json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, TrainingJson.Default.SimClrConfig)
                ?? throw new ArgumentException("The configuration is null.");
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"This is no configuration of a SimCLR run: {e.Message}", e);
        }
    }

    /// <summary>Says what is wrong with the values.</summary>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public void Check()
    {
        ArgumentNullException.ThrowIfNull(Encoder);
        Encoder.Check();
        That(ProjectionHead.Names.Contains(Head), $"There is no projection head '{Head}'. Choose one of {string.Join(", ", ProjectionHead.Names)}.");
        That(AugmentPreset.Names.Contains(Augmentation), $"There is no augmentation preset '{Augmentation}'. Choose one of {string.Join(", ", AugmentPreset.Names)}.");
        That(HeadOutputs is >= 1 and <= 65536 && HeadHidden is >= 0 and <= 65536, $"The head has 1 to 65536 outputs and hidden units, not {HeadOutputs} and {HeadHidden}.");
        That((long)Math.Max(HeadHidden, Encoder.FeatureCount) * Math.Max(Math.Max(HeadHidden, HeadOutputs), Encoder.FeatureCount) <= 1 << 30,
            $"A layer of the head has at most 2³⁰ weights, not those between {Encoder.FeatureCount} features, {HeadHidden} hidden units and {HeadOutputs} outputs.");
        That(ViewSize is >= 0 and <= 4096, $"Views have 1 to 4096 rows and columns (0: as the images), not {ViewSize}.");
        That(Temperature > 0 && float.IsNormal((float)Temperature), $"The temperature is above 0 and within float32's range, not {Temperature}.");
        That(BatchSize is >= 2 and <= 1 << 20, $"A batch has 2 to {1 << 20} images, not {BatchSize}.");
        That(MicroBatch >= 0 && MicroBatch <= BatchSize, $"A micro-batch has at most the {BatchSize} images of a batch (0: all at once), not {MicroBatch}.");
        That(Enum.IsDefined(Precision), $"Networks train in Float32, Tf32 or BFloat16, not in {Precision}.");
        That(Epochs is >= 1 and <= 1_000_000, $"There are 1 to 1000000 epochs, not {Epochs}.");
        That(LearningRate > 0 && double.IsFinite(LearningRate), $"The learning rate is above 0, not {LearningRate}.");
        That(WarmupEpochs >= 0 && WarmupEpochs <= Epochs, $"The warm-up lasts 0 to all {Epochs} epochs, not {WarmupEpochs}.");
        That(WeightDecay is null || (WeightDecay >= 0 && double.IsFinite(WeightDecay.Value)), $"The weight decay is at least 0, not {WeightDecay}.");
        That(Momentum is >= 0 and < 1, $"The momentum is at least 0 and less than 1, not {Momentum}.");
        That(EmaDecay is >= 0 and < 1, $"The decay of the averaged encoder is at least 0 (no average) and less than 1, not {EmaDecay}.");
        That(CheckpointEverySteps >= 0, $"The steps between checkpoints are at least 0, not {CheckpointEverySteps}.");
        That(LogEverySteps >= 0 && HealthImages >= 0, "Steps between lines, and images for the health monitors are at least 0.");

        static void That(bool condition, string message)
        {
            if (!condition) throw new ArgumentException(message);
        }
    }

    /// <summary>
    /// The two views' recipes, with their size. The first's size and normalisation are what the encoder is evaluated with.
    /// </summary>
    public (ViewRecipe First, ViewRecipe Second) Views()
    {
        (ViewRecipe first, ViewRecipe second) = AugmentPreset.Get(Augmentation);
        return (Sized(first), Sized(second));

        ViewRecipe Sized(ViewRecipe recipe) => ViewSize == 0 ? recipe : recipe with { OutputHeight = ViewSize, OutputWidth = ViewSize };
    }

    /// <summary>The highest learning rate, scaled by the batch.</summary>
    internal double PeakRate => Scaling switch
    {
        RateScaling.Linear => BatchScaling.Linear(LearningRate, BatchSize),
        RateScaling.SquareRoot => BatchScaling.SquareRoot(LearningRate, BatchSize),
        _ => LearningRate,
    };

    /// <summary>Images that go through the encoder at once.</summary>
    internal int ChunkSize => MicroBatch == 0 ? BatchSize : MicroBatch;

    internal ResNet MakeEncoder() => new(Encoder with { Classes = 0 }, Seed);

    // A seed of its own, so that the head does not repeat the encoder's numbers.
    internal Sequential MakeHead() => ProjectionHead.Create(Head, Encoder.FeatureCount, new Initializer(Seed ^ 0x48454144), HeadOutputs,
        HeadHidden == 0 ? null : HeadHidden, Encoder.Norm);

    /// <summary>What every head has at least: a layer from features to hidden units, and one from those to outputs.</summary>
    internal long CountHeadWeights()
    {
        long hidden = HeadHidden == 0 ? Encoder.FeatureCount : HeadHidden;
        return Encoder.FeatureCount * hidden + hidden * HeadOutputs;
    }

    internal Pipeline MakePipeline(ulong seed)
    {
        (ViewRecipe first, ViewRecipe second) = Views();
        return new(first, second, seed);
    }

    internal Optimizer MakeOptimizer(IReadOnlyList<(string Name, Tensor Tensor)> parameters) => Optimizer switch
    {
        OptimizerKind.AdamW => new AdamW(parameters, LearningRate, weightDecay: WeightDecay ?? 1e-2, decayVectors: false),
        OptimizerKind.Sgd => new Sgd(parameters, LearningRate, Momentum, weightDecay: WeightDecay ?? 1e-4, decayVectors: false),
        _ => new Lars(parameters, LearningRate, Momentum, WeightDecay ?? 1e-6, form: LarsMomentum),
    };

    internal Schedule MakeSchedule(long stepsPerEpoch) =>
        new WarmupCosine(PeakRate, (long)Math.Round(WarmupEpochs * stepsPerEpoch), Epochs * stepsPerEpoch);
}

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true, RespectNullableAnnotations = true,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    ReadCommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true)]
[JsonSerializable(typeof(SimClrConfig))]
[JsonSerializable(typeof(RunState))]
internal sealed partial class TrainingJson : JsonSerializerContext;
