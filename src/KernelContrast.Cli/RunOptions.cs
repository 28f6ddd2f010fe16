using System.CommandLine;
using System.Globalization;
using KernelContrast.Augment;
using KernelContrast.Nn;
using KernelContrast.Optim;
using KernelContrast.Training;

namespace KernelContrast.Cli;

/// <summary>The options that make a run what it is, each tied to its place in <see cref="SimClrConfig"/>.</summary>
internal sealed class RunOptions
{
    private static readonly string[] Models = ["resnet8", "resnet14", "resnet20", "resnet32", "resnet18", "resnet34", "resnet50"];
    private static readonly string[] Stems = ["strided", "cifar", "imagenet"];

    private readonly List<(Option Option, Action<ParseResult, SimClrConfig> Apply)> _bound = [];

    internal RunOptions()
    {
        var model = Named("--model", "Encoder; resnet8 to resnet32 are the small ones of three stages", "resnet8", Models);
        var widths = new Option<int[]>("--widths") { Description = "Channels of the encoder's stages, as 16 32 64; the model's own when not given", AllowMultipleArgumentsPerToken = true };
        var stem = Named("--stem", "First layer: strided (3×3, stride 2), cifar (3×3) or imagenet (7×7 and max pooling)", "strided", Stems);
        var norm = Named("--norm", "Behind each convolution: batch, or none (a scale and shift per channel, so that no image depends on the others)", "batch", ["batch", "none"]);
        // The four together make the encoder.
        foreach (Option option in new Option[] { model, widths, stem, norm })
            _bound.Add((option, (parsed, config) => config.Encoder =
                Encoder(parsed.GetValue(model)!, parsed.GetValue(widths) ?? [], parsed.GetValue(stem)!, parsed.GetValue(norm)!, config.Encoder.InputChannels)));

        Bind(Named("--head", "Projection head between encoder and loss, thrown away afterwards", "simclr-v1", [.. ProjectionHead.Names]), (c, v) => c.Head = v);
        Bind(New("--head-outputs", "Length of the embeddings that the loss compares", 128), (c, v) => c.HeadOutputs = v);
        Bind(Named("--preset", "Augmentation", "simclr", [.. AugmentPreset.Names]), (c, v) => c.Augmentation = v);
        Bind(New("--view-size", "Height and width of the views; 0: as the images", 0), (c, v) => c.ViewSize = v);
        Bind(New("--epochs", "Times every image is seen", 100), (c, v) => c.Epochs = v);
        Bind(New("--batch-size", "Images per step; the loss compares twice as many views", 256), (c, v) => c.BatchSize = v);
        Bind(New("--micro-batch", "Images embedded at a time, so that a large batch needs the memory of this many; the loss still compares all. 0: the whole batch at once", 0), (c, v) => c.MicroBatch = v);
        Bind(PrecisionOption.Create("Numbers in which the networks' products are formed; bf16 rounds their factors, while weights, sums and the loss stay float32"),
            (c, v) => c.Precision = PrecisionOption.Parse(v));
        Bind(New("--temperature", "τ of the loss", 0.5), (c, v) => c.Temperature = v);
        Bind(Named("--optimizer", "Optimizer", "adamw", ["adamw", "sgd", "lars"]), (c, v) => c.Optimizer = Enum.Parse<OptimizerKind>(v, ignoreCase: true));
        Bind(New("--lr", "Highest learning rate", 4e-3), (c, v) => c.LearningRate = v);
        Bind(Named("--lr-scaling", "How it grows with the batch: none, linear (lr·batch/256) or sqrt (lr·√batch)", "none", ["none", "linear", "sqrt"]),
            (c, v) => c.Scaling = v switch { "linear" => RateScaling.Linear, "sqrt" => RateScaling.SquareRoot, _ => RateScaling.None });
        Bind(New("--warmup-epochs", "Epochs of linear warm-up before the cosine", 1.0), (c, v) => c.WarmupEpochs = v);
        Bind(new Option<double?>("--weight-decay") { Description = "Of weights; the optimizer's usual when not given (0.01 AdamW, 1e-4 SGD, 1e-6 LARS)", HelpName = "D" }, (c, v) => c.WeightDecay = v);
        Bind(New("--momentum", "Of SGD and LARS", 0.9), (c, v) => c.Momentum = v);
        Bind(Named("--lars-momentum", "Whether LARS keeps the learning rate inside its momentum, as SimCLR's code, or outside, as MoCo v3's", "inside", ["inside", "outside"]),
            (c, v) => c.LarsMomentum = v == "inside" ? LarsMomentum.RateInside : LarsMomentum.RateOutside);
        Bind(New("--ema", "Also keep an average of the encoder over the steps, which evaluate, embed and plot then use: share of it that stays at each step, as 0.999. 0: none", 0.0),
            (c, v) => c.EmaDecay = v);
        Bind(New("--seed", "Of weights, order and views", 0UL), (c, v) => c.Seed = v);
        Bind(New("--checkpoint-steps", "Steps between checkpoints within an epoch; 0: only at its end", 0), (c, v) => c.CheckpointEverySteps = v);
    }

    internal void AddTo(Command verb)
    {
        foreach ((Option option, _) in _bound) verb.Options.Add(option);
    }

    /// <summary>The configuration of a new run on images of so many channels.</summary>
    internal SimClrConfig Create(ParseResult parsed, int channels)
    {
        var config = new SimClrConfig { Encoder = new() { InputChannels = channels } };
        foreach ((_, Action<ParseResult, SimClrConfig> apply) in _bound) apply(parsed, config);
        try { config.Check(); }
        catch (ArgumentException e) { throw new UserError(Culprit(parsed, channels) is { } option ? $"{option.Name}: {e.Message}" : e.Message); }
        return config;
    }

    /// <summary>The last of the options given without which the rest would be right; null when no single one is to blame.</summary>
    private Option? Culprit(ParseResult parsed, int channels) => _bound.Select(b => b.Option).LastOrDefault(option =>
    {
        if (parsed.GetResult(option) is not { Implicit: false }) return false;
        var others = new SimClrConfig { Encoder = new() { InputChannels = channels } };
        foreach ((Option other, Action<ParseResult, SimClrConfig> apply) in _bound)
            if (other != option) apply(parsed, others);
        try { others.Check(); }
        catch (ArgumentException) { return false; }
        return true;
    });

    /// <summary>A resumed run goes on as it began: what is given again must be the same.</summary>
    /// <exception cref="UserError">An option differs.</exception>
    internal void CheckSame(ParseResult parsed, SimClrConfig began)
    {
        foreach ((Option option, Action<ParseResult, SimClrConfig> apply) in _bound)
        {
            if (parsed.GetResult(option) is not { Implicit: false }) continue;
            SimClrConfig asked = began with { };
            apply(parsed, asked);
            if (asked.ToJson() != began.ToJson())
                throw new UserError($"{option.Name} differs from what the run began with. A resumed run goes on as it began: leave the option out, or start anew with another --out.");
        }
    }

    private static ResNetConfig Encoder(string model, int[] widths, string stem, string norm, int channels)
    {
        ResNetConfig config = model switch
        {
            "resnet18" => ResNetConfig.ResNet18(),
            "resnet34" => ResNetConfig.ResNet34(),
            "resnet50" => ResNetConfig.ResNet50(),
            _ => ResNetConfig.Small(int.Parse(model.AsSpan("resnet".Length), CultureInfo.InvariantCulture)) with { Shortcut = ResNetShortcut.Projection },
        };
        config.InputChannels = channels;
        if (widths.Length > 0) config.Widths = widths;
        config.Stem = stem switch { "cifar" => ResNetStem.Cifar, "imagenet" => ResNetStem.ImageNet, _ => ResNetStem.Strided };
        config.Norm = norm == "none" ? Normalization.None : Normalization.Batch;
        return config;
    }

    private static Option<T> New<T>(string name, string description, T value) => new(name) { Description = description, HelpName = "N", DefaultValueFactory = _ => value };

    private static Option<string> Named(string name, string description, string value, string[] known)
    {
        var option = new Option<string>(name) { Description = description, DefaultValueFactory = _ => value };
        option.AcceptOnlyFromAmong(known);
        return option;
    }

    private void Bind<T>(Option<T> option, Action<SimClrConfig, T> set) => _bound.Add((option, (parsed, config) => set(config, parsed.GetValue(option)!)));
}
