namespace KernelContrast.Cli.Verbs;

/// <summary><c>bench</c>: times this machine's devices, without a peer.</summary>
internal static class BenchCommand
{
    internal static VerbCommand Create()
    {
        var verb = new VerbCommand("bench", "Time losses and kernels on this machine.",
            "kernelcontrast bench loss nt-xent clip --rows 1024 4096 --plot time.png", "kernelcontrast bench kernels --device cuda --json kernels.json");
        verb.Subcommands.Add(LossBenchCommand.Create());
        verb.Subcommands.Add(KernelBenchCommand.Create());
        verb.Subcommands.Add(FigureCommand.Create());
        return verb;
    }
}
