using System.CommandLine;
using KernelContrast.Cli.Bench;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>bench kernels</c>: every kernel family on a CUDA device.</summary>
internal static class KernelBenchCommand
{
    internal static VerbCommand Create()
    {
        var families = new Argument<string[]>("families") { Description = "Which families; all when none is given", HelpName = "FAMILY", Arity = ArgumentArity.ZeroOrMore };
        var tiny = new Option<bool>("--tiny") { Description = "Sizes for the emulated driver: tells whether the bench works, measures nothing" };
        var seconds = new Option<double>("--seconds") { Description = "Time spent on each row", HelpName = "S", DefaultValueFactory = _ => 2 };
        var json = new Option<string?>("--json") { Description = "Write the figures here too", HelpName = "FILE" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("kernels",
            "Time every kernel family on a CUDA device, by events: caches as they are (hot) and overwritten (cold), medians with the 20th and 80th percentile, beside "
            + "the ceilings of the same run. % of floor: the time that bytes, products and exponentials need at those ceilings ÷ the hot time.",
            "kernelcontrast bench kernels gemm softmax --device cuda") { families, tiny, seconds, json };
        device.AddTo(verb);
        verb.Outputs = [json];
        verb.SetAction(parsed =>
        {
            // Not the parser's to check: making every case, to name its family, would slow each start of the tool by seconds.
            if (parsed.GetValue(families)!.Except(KernelBench.Families).FirstOrDefault() is { } unknown)
                throw new UserError($"there is no family '{unknown}'. Families are {string.Join(", ", KernelBench.Families)}; 'kernelcontrast bench kernels --help' shows more.");
            double spent = parsed.GetValue(seconds);
            if (!(spent > 0)) throw new UserError($"--seconds is {spent}, expected a positive number.");
            KernelBench.Run(device.Open(parsed), parsed.GetValue(families)!, parsed.GetValue(tiny), spent, parsed.GetValue(json));
            return 0;
        });
        return verb;
    }
}
