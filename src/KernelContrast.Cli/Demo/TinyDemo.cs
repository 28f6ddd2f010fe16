using System.Globalization;
using KernelContrast.Datasets;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Cli.Demo;

/// <summary>
/// A few steps of a tiny network, each step's loss printed: to see that a device trains, and trains as another does. Nothing
/// is learned. Between devices the losses agree to <see cref="Tolerance"/>.
/// </summary>
internal static class TinyDemo
{
    internal const int Images = 128, Steps = 8;

    /// <summary>
    /// Between two devices' losses of the same step. They agree to 5e-7 until a ReLU's input is within rounding of 0, so that
    /// one device passes its gradient and the other does not; of seeds 0 to 7 that happens in one, which then differs by up to
    /// 2e-4 (docs/design/checking.md). In float32.
    /// </summary>
    internal const double Tolerance = 1e-3;

    internal static SimClrConfig Config(ulong seed, Precision precision) => new()
    {
        Encoder = ResNetConfig.Small(8, 4, 8, 8) with { Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection, InputChannels = 1 },
        HeadOutputs = 16,
        Augmentation = "digits",
        Temperature = 0.5,
        BatchSize = Images / Steps,
        Epochs = 1,
        Optimizer = OptimizerKind.AdamW,
        LearningRate = 4e-3,
        WarmupEpochs = 0.5,
        HealthImages = 0,
        Seed = seed,
        Precision = precision,
    };

    internal static void Run(IImageDataset digits, string directory, Device device, ulong seed, Precision precision)
    {
        Terminal.Line($"device: {device}, {device.Description}");
        using SimClrTrainer trainer = UserError.Check(() => SimClrTrainer.Start(Config(seed, precision), digits, directory, device, overwrite: true));
        Terminal.Line($"{digits.Count} digits, {trainer.Encoder.ParameterCount:N0} parameters, {trainer.TotalSteps} steps");
        trainer.StepEnded += report =>
            Terminal.Line(string.Create(CultureInfo.InvariantCulture, $"step {report.Step} of {report.TotalSteps}: loss {report.Loss:F6}"));
        trainer.Run();
    }
}
