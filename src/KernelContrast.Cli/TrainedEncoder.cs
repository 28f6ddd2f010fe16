using System.CommandLine;
using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Cli;

/// <summary>The encoder of a run, and how it wants its images.</summary>
internal sealed class TrainedEncoder : IDisposable
{
    private readonly Device _device;
    private readonly ResNet _encoder;
    private readonly ViewRecipe _recipe;

    private TrainedEncoder(Checkpoint checkpoint, Device device, bool last)
    {
        (Checkpoint, _device) = (checkpoint, device);
        IsAverage = checkpoint.HasAverage && !last;
        _encoder = checkpoint.LoadEncoder(device, last);
        // Size and normalisation as the first view has them; what is random in it is left out.
        _recipe = checkpoint.Config.Views().First;
    }

    internal Checkpoint Checkpoint { get; }

    /// <summary>Whether it is the average over the run's steps.</summary>
    internal bool IsAverage { get; }

    /// <summary>The argument that says which.</summary>
    internal static Argument<string?> Argument(bool required = true)
    {
        var run = new Argument<string?>("run")
        {
            Description = $"Directory of a run (pretrain, demo), or its {Checkpoint.FileName}",
            HelpName = "RUN",
            Arity = required ? ArgumentArity.ExactlyOne : ArgumentArity.ZeroOrOne,
        };
        // An option that is not known would pass for the run.
        run.Validators.Add(result =>
        {
            if (result.Tokens.FirstOrDefault(t => t.Value.StartsWith("--", StringComparison.Ordinal)) is { } token)
                result.AddError($"there is no option '{token.Value}'");
        });
        return run;
    }

    /// <summary>The option for the encoder of the last step where a run keeps an average.</summary>
    internal static Option<bool> LastOption() => new("--no-ema") { Description = "Of a run with --ema, take the encoder as the last step left it, not its average over the steps" };

    /// <exception cref="IOException">There is no checkpoint, or it is damaged.</exception>
    internal static TrainedEncoder Open(string path, Device device, bool last) => UserError.Check(() => new TrainedEncoder(Checkpoint.Open(path), device, last));

    /// <summary>What the encoder makes of the images.</summary>
    internal FeatureMatrix Features(IImageDataset data) => Embed(_encoder, data);

    /// <summary>What it made of them before it was trained.</summary>
    internal FeatureMatrix UntrainedFeatures(IImageDataset data)
    {
        using ResNet untrained = new ResNet(Checkpoint.Config.Encoder with { Classes = 0 }, Checkpoint.Config.Seed).To(_device);
        return Embed(untrained, data);
    }

    /// <summary>The images themselves, as the encoder gets them.</summary>
    internal FeatureMatrix Pixels(IImageDataset data) => Embedder.Pixels(data, _recipe);

    /// <exception cref="UserError">The images have other channels than those it was trained on.</exception>
    internal void CheckFits(IImageDataset data)
    {
        int channels = Checkpoint.Config.Encoder.InputChannels;
        if (data.Channels != channels)
            throw new UserError($"The encoder of {Checkpoint.Path} was trained on images of {Counted.Of(channels, "channel")}, but these have {data.Channels}.");
    }

    private FeatureMatrix Embed(ResNet encoder, IImageDataset data)
    {
        CheckFits(data);
        return UserError.Check(() => Embedder.Embed(encoder, data, _recipe, device: _device));
    }

    public void Dispose() => _encoder.Dispose();
}
