using System.CommandLine;
using KernelContrast.Datasets;
using KernelContrast.Devices;
using KernelContrast.Training;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>pretrain</c>: trains an encoder without labels, and goes on with a run that was stopped or killed.</summary>
internal static class PretrainCommand
{
    internal static VerbCommand Create()
    {
        var data = new DataOptions();
        var images = new Option<int?>("--images") { Description = "Only the first so many", HelpName = "N" };
        var output = new Option<string?>("--out") { Description = "Directory for checkpoint, metrics.jsonl and run.json", HelpName = "DIR" };
        var resume = new Option<string?>("--resume")
        {
            Description = "Go on with the run of this directory (of --out when none is given), to the same bits as if it had not stopped",
            HelpName = "DIR",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var run = new RunOptions();
        var device = new DeviceOptions();
        var verb = new VerbCommand("pretrain", "Train an encoder on images without labels (SimCLR). Ctrl-C finishes the step and saves.",
            "kernelcontrast pretrain --data data/mnist --preset digits --epochs 15 --out runs/digits",
            "kernelcontrast pretrain --data data/mnist --resume runs/digits")
        { images, output, resume };
        verb.Resumed = parsed => parsed.GetResult(resume) is { Implicit: false } ? parsed.GetValue(resume) ?? parsed.GetValue(output) : null;
        verb.Remembered = ["images", "image-size", "moved"];
        data.AddTo(verb);
        run.AddTo(verb);
        device.AddTo(verb);
        verb.SetAction(parsed =>
        {
            Device on = device.Open(parsed);
            bool resumes = parsed.GetResult(resume) is { Implicit: false };
            string? resumed = parsed.GetValue(resume), named = parsed.GetValue(output);
            string directory = OutputFile.CheckDirectory(resumed ?? named ?? throw new UserError("--out is missing: give a directory for the run."),
                resumed is null ? "--out" : "--resume");
            if (resumed is not null && named is not null && Path.GetFullPath(resumed) != Path.GetFullPath(named))
                throw new UserError($"--resume {resumed} goes on in its own directory, not in --out {named}. Leave --out away.");
            if (parsed.GetValue(images) is < 1) throw new UserError($"--images is {parsed.GetValue(images)}, expected 1 or more.");
            IImageDataset source = data.Open(parsed, Split.Train).Take(parsed.GetValue(images) ?? int.MaxValue);
            using SimClrTrainer trainer = UserError.Check(() => resumes
                ? Resume(directory, source, on, checkpoint =>
                {
                    run.CheckSame(parsed, checkpoint.Config);
                    if (on is CpuDevice cpu) device.KeepThreads(parsed, cpu, checkpoint.Threads);
                })
                : SimClrTrainer.Start(run.Create(parsed, source.Channels), source, directory, on));
            if (!resumes) ConfigFile.Write(parsed, directory);
            return Run(trainer, source, $"kernelcontrast pretrain {Again(parsed)}--resume {ShellWord.Quote(directory)}");
        });
        return verb;
    }

    /// <summary>What a resumed run must be told again: the rest is in its checkpoint.</summary>
    private static string Again(ParseResult parsed) => string.Concat(parsed.CommandResult.Command.Options
        .Where(o => o.Name is "--data" or "--images" or "--image-size" or "--moved" or "--device" or "--threads")
        .Select(o => parsed.GetResult(o)).Where(r => r is { Implicit: false })
        .Select(r => $"{r!.Option.Name} {string.Join(' ', r.Tokens.Select(t => ShellWord.Quote(t.Value)))} "));

    private static SimClrTrainer Resume(string directory, IImageDataset data, Device device, Action<Checkpoint> check)
    {
        check(Checkpoint.Open(directory));
        try { return SimClrTrainer.Resume(directory, data, device); }
        catch (ArgumentException e) when (e.Message.Contains("began with other images", StringComparison.Ordinal))
        {
            throw new UserError($"{e.Message} --data, --images, --image-size and --moved choose them.");
        }
    }

    private static int Run(SimClrTrainer trainer, IImageDataset data, string howToGoOn)
    {
        Terminal.Line($"{Counted.Of(data.Count, "image")} of {data.Channels}×{data.Height}×{data.Width}; an encoder of {trainer.Encoder.ParameterCount:N0} parameters on {trainer.Device}, {trainer.Device.Description}");
        if (trainer.Step > 0) Terminal.Line($"going on from step {trainer.Step} of {trainer.TotalSteps}");
        using var console = new TrainingConsole(trainer);
        TrainingResult result = trainer.Run(console.Stop);
        if (!result.Completed)
        {
            Terminal.Line($"Stopped at step {trainer.Step} of {trainer.TotalSteps}, saved in {trainer.Directory}. Go on with: {howToGoOn}");
            return TrainingConsole.StoppedExitCode;
        }
        Terminal.Line($"saved {result.Checkpoint.Path}");
        Terminal.Line($"weights {result.Checkpoint.WeightsHash}");
        return 0;
    }
}
