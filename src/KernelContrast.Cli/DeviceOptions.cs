using System.CommandLine;
using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Cli;

/// <summary><c>--device</c> and <c>--threads</c>, as every verb that computes has them.</summary>
internal sealed class DeviceOptions
{
    private readonly Option<string> _device = new("--device")
    {
        Description = "Where to compute; 'devices' lists what there is",
        HelpName = "NAME",
        DefaultValueFactory = _ => "cpu",
    };

    private readonly Option<int?> _threads = new("--threads")
    {
        Description = "CPU threads; all processors when not given",
        HelpName = "N",
    };

    internal void AddTo(Command verb)
    {
        verb.Options.Add(_device);
        verb.Options.Add(_threads);
    }

    /// <exception cref="UserError">The device is unknown, or the number of threads out of range.</exception>
    internal Device Open(ParseResult parsed)
    {
        if (parsed.GetValue(_threads) is { } threads)
        {
            if (threads is < 1 or > 1024) throw new UserError($"--threads is {threads}, expected 1 to 1024.");
            Device.Cpu.Threads = threads;
        }
        try
        {
            return Device.Parse(parsed.GetValue(_device)!);
        }
        catch (Exception e) when (e is ArgumentException or CudaNotFoundException or CudaException)
        {
            throw new UserError($"--device: {e.Message}");
        }
    }

    /// <summary>A resumed run goes on with as many threads as it began with, and so with the same bits, unless told otherwise.</summary>
    internal void KeepThreads(ParseResult parsed, CpuDevice cpu, int began)
    {
        if (began == 0 || began == cpu.Threads) return;
        if (parsed.GetValue(_threads) is null) cpu.Threads = began;
        else Terminal.Line($"The run began with --threads {began}: with {cpu.Threads} its numbers go on in another order of sums, so not to the same bits.");
    }
}
