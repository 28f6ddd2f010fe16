using System.CommandLine;
using System.Diagnostics;
using KernelContrast.Cli.Demo;
using KernelContrast.Datasets;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>demo</c>: trains an encoder on digits without their labels, and shows what it is worth.</summary>
internal static class DemoCommand
{
    private const int QuickImages = 10_000;
    private const ulong TrainSeed = 1, TestSeed = 2;

    internal static VerbCommand Create()
    {
        var quick = new Option<bool>("--quick") { Description = $"Train on {QuickImages:N0} images in place of 20,000" };
        var tiny = new Option<bool>("--tiny") { Description = $"Only take {TinyDemo.Steps} steps of a tiny network and print their losses; on any device but cpu, compare them with cpu's, which are the same to {Tolerances()} (exit code 1 when not)" };
        var output = new Option<string>("--out") { Description = "Where everything is written", HelpName = "DIR", DefaultValueFactory = _ => Path.Combine("artifacts", "demo") };
        var data = new Option<string?>("--data") { Description = "MNIST's files; the repository's data/mnist when not given", HelpName = "DIR" };
        var plain = new Option<bool>("--plain") { Description = "Leave the digits upright and in the middle, as MNIST has them" };
        var epochs = new Option<int>("--epochs") { Description = "Times every image is seen", HelpName = "N", DefaultValueFactory = _ => 15 };
        var seed = new Option<ulong>("--seed") { Description = "Of weights, order and views", HelpName = "N", DefaultValueFactory = _ => 0 };
        Option<string> precision = PrecisionOption.Create("Numbers in which the networks' products are formed");
        var device = new DeviceOptions();
        var verb = new VerbCommand("demo",
            "Train a small encoder on MNIST's digits, each moved and turned, without looking at a label; then compare what it learned with raw pixels and an untrained encoder.",
            "kernelcontrast demo --quick")
        { quick, tiny, output, data, plain, epochs, seed, precision };
        device.AddTo(verb);
        verb.SetAction(parsed =>
        {
            long start = Stopwatch.GetTimestamp();
            Device on = device.Open(parsed);
            string source = parsed.GetValue(data) ?? FindDigits();
            string directory = OutputFile.CheckDirectory(parsed.GetValue(output)!, "--out");
            bool move = !parsed.GetValue(plain);
            if (parsed.GetValue(epochs) is not (>= 1 and <= 1_000_000)) throw new UserError($"--epochs is {parsed.GetValue(epochs)}, expected 1 to 1000000.");
            if (parsed.GetValue(tiny))
                return TinyDemo.Run(Digits(source, Split.Train, TinyDemo.Images, move ? TrainSeed : null), directory, on, parsed.GetValue(seed), PrecisionOption.Parse(parsed.GetValue(precision)!));
            IImageDataset train = Digits(source, Split.Train, parsed.GetValue(quick) ? QuickImages : int.MaxValue, move ? TrainSeed : null);
            IImageDataset test = Digits(source, Split.Test, int.MaxValue, move ? TestSeed : null);
            SimClrConfig config = Config(parsed.GetValue(epochs), parsed.GetValue(seed), PrecisionOption.Parse(parsed.GetValue(precision)!));

            Terminal.Line($"device: {on}, {on.Description}");
            Terminal.Line($"{train.Count:N0} digits to learn from, {test.Count:N0} to measure on{(move ? ", each moved by up to 6 pixels and turned by up to 20° once" : "")}");
            using SimClrTrainer trainer = UserError.Check(() => SimClrTrainer.Start(config, train, directory, on, overwrite: true));
            ConfigFile.Write(parsed, directory);
            var show = new DemoPictures(directory, train, test);
            show.Views(config);

            Terminal.Heading($"\nTraining {trainer.Encoder.ParameterCount:N0} parameters without labels");
            var reports = new List<EpochReport>();
            trainer.EpochEnded += reports.Add;
            long trainStart = Stopwatch.GetTimestamp();
            using (var console = new TrainingConsole(trainer))
                if (!trainer.Run(console.Stop).Completed)
                {
                    Terminal.Line($"Stopped at step {trainer.Step} of {trainer.TotalSteps}; {directory} has what was learned so far. Finish the training with: kernelcontrast pretrain "
                        + $"--data {ShellWord.Quote(source)} --images {train.Count}{(move ? $" --moved {TrainSeed}" : "")} --resume {ShellWord.Quote(directory)}");
                    return TrainingConsole.StoppedExitCode;
                }
            double trainSeconds = Stopwatch.GetElapsedTime(trainStart).TotalSeconds;
            show.Training(reports, config);

            Terminal.Heading("\nMeasuring");
            using var random = new ResNet(config.Encoder, config.Seed).To(on);
            var comparison = DemoComparison.Measure(train, test, random, trainer.Encoder, on);
            comparison.WriteEmbeddings(directory);
            show.Space(comparison);
            double totalSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            comparison.WriteResult(directory, on, trainSeconds, totalSeconds);
            Terminal.Line();
            comparison.Print();
            Terminal.Line($"Trained in {trainSeconds:F0} s on {on}, {totalSeconds:F0} s in all. Checkpoint, embeddings, metrics and pictures are in {directory}.");
            return 0;
        });
        return verb;
    }

    private static string Tolerances() => string.Join(", ", new[] { Precision.Float32, Precision.Tf32, Precision.BFloat16 }.Select(TinyDemo.Tolerance));

    private static SimClrConfig Config(int epochs, ulong seed, Precision precision) => new()
    {
        Encoder = ResNetConfig.Small(8, 16, 32, 64) with { Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection, InputChannels = 1 },
        Augmentation = "digits",
        Temperature = 0.5,
        BatchSize = 256,
        Epochs = epochs,
        Optimizer = OptimizerKind.AdamW,
        LearningRate = 4e-3,
        WarmupEpochs = Math.Min(1, epochs),
        Seed = seed,
        Precision = precision,
    };

    private static IImageDataset Digits(string source, Split split, int most, ulong? seed)
    {
        IImageDataset digits = Dataset.Open(source, split).Take(most);
        return seed is { } moved ? new MovedDigits(digits, moved) : digits;
    }

    /// <summary>The repository's digits, looked for from here and from the tool upwards.</summary>
    private static string FindDigits()
    {
        foreach (string from in new[] { Environment.CurrentDirectory, AppContext.BaseDirectory })
            for (DirectoryInfo? at = new(from); at is not null; at = at.Parent)
            {
                string candidate = Path.Combine(at.FullName, "data", "mnist");
                if (File.Exists(Path.Combine(candidate, "train-images-idx3-ubyte.gz"))) return candidate;
            }
        throw new UserError("data/mnist was not found from here upwards. Run this in the repository, or give --data DIR with MNIST's four files.");
    }
}
