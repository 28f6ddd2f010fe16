using System.Globalization;
using KernelContrast.Datasets;
using KernelContrast.Devices;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Cli.Demo;

/// <summary>
/// A few steps of a tiny network, each step's loss printed: to see that a device trains, and trains as another does. Nothing
/// is learned. Any device but the CPU is compared with it, step by step, to <see cref="ToleranceOf"/>.
/// </summary>
internal static class TinyDemo
{
    internal const int Images = 128, Steps = 8;

    /// <summary>
    /// Between two devices' losses of the same step; docs/design/checking.md has what was measured. In float32 they agree to
    /// 5e-7 until a ReLU's input is within rounding of 0, so that one device passes its gradient and the other does not. In
    /// TF32 both round the same factors, but a factor that sums in another order put on the other side of an edge goes the
    /// other way, by 2⁻¹⁰ of itself, and more do with every step. In bfloat16 that is 2⁻⁷, and CUDA also keeps the results of
    /// layers and their gradients in it, where the CPU keeps float32. AdamW's first steps have the gradient's sign more than
    /// its size, so that parameters part by what a step is long, and the losses with every step.
    /// </summary>
    /// <param name="precision">In which products are formed.</param>
    /// <param name="step">From 1.</param>
    internal static double ToleranceOf(Precision precision, int step) => precision switch
    {
        Precision.Float32 => 0.001,
        Precision.Tf32 => 0.005 * step,
        _ => 0.025 * step,
    };

    /// <summary>The same in words.</summary>
    internal static string Tolerance(Precision precision) => string.Create(CultureInfo.InvariantCulture,
        $"{ToleranceOf(precision, 1)}{(precision == Precision.Float32 ? "" : " times the step")} in {PrecisionOption.NameOf(precision)}");

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

    /// <returns>0, or 1 when the device's losses are not the CPU's to the tolerance.</returns>
    internal static int Run(IImageDataset digits, string directory, Device device, ulong seed, Precision precision)
    {
        Terminal.Line($"device: {device}, {device.Description}");
        double[] losses = Train(digits, directory, device, seed, precision, print: true);
        if (device is CpuDevice)
        {
            Terminal.Line($"Another device's losses are the same to {Tolerance(precision)}.");
            return 0;
        }
        double[] expected = Train(digits, Path.Combine(directory, "cpu"), Device.Cpu, seed, precision, print: false);
        (bool within, string found) = Compare(losses, expected, precision);
        if (within) Terminal.Line($"The losses are cpu's to {Tolerance(precision)}: {found}.");
        else Console.Error.WriteLine($"{device} does not train as cpu does, to {Tolerance(precision)}: {found}.");
        return within ? 0 : 1;
    }

    /// <summary>Whether losses are those expected to the tolerance, and the step where they are farthest from that.</summary>
    internal static (bool Within, string Found) Compare(ReadOnlySpan<double> losses, ReadOnlySpan<double> expected, Precision precision)
    {
        if (losses.Length != expected.Length) return (false, $"there are {losses.Length} steps, on cpu {expected.Length}");
        (int worst, double most) = (1, -1);
        for (int step = 1; step <= losses.Length; step++)
        {
            double share = Math.Abs(losses[step - 1] - expected[step - 1]) / ToleranceOf(precision, step);
            // NaN is farther than any number
            if (share > most || double.IsNaN(share)) (worst, most) = (step, double.IsNaN(share) ? double.PositiveInfinity : share);
        }
        return (most <= 1, string.Create(CultureInfo.InvariantCulture, $"at step {worst}, {losses[worst - 1]:F6} and on cpu {expected[worst - 1]:F6}"));
    }

    private static double[] Train(IImageDataset digits, string directory, Device device, ulong seed, Precision precision, bool print)
    {
        using SimClrTrainer trainer = UserError.Check(() => SimClrTrainer.Start(Config(seed, precision), digits, directory, device, overwrite: true));
        if (print) Terminal.Line($"{digits.Count} digits, {trainer.Encoder.ParameterCount:N0} parameters, {trainer.TotalSteps} steps");
        var losses = new List<double>();
        trainer.StepEnded += report =>
        {
            losses.Add(report.Loss);
            if (print) Terminal.Line(string.Create(CultureInfo.InvariantCulture, $"step {report.Step} of {report.TotalSteps}: loss {report.Loss:F6}"));
        };
        trainer.Run();
        return [.. losses];
    }
}
