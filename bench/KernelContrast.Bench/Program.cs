using System.Globalization;
using KernelContrast.Bench;
using KernelContrast.TorchSharpSupport;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is not ["--memory", MemoryProbe.Ours, ..]) LibTorchLoader.Prepare();
return args.FirstOrDefault() switch
{
    "--child" => Child.Run(mode: args[1], output: args[2], only: args.ElementAtOrDefault(3)),
    "--memory" => MemoryProbe.Run(side: args[1], rows: int.Parse(args[2])),
    "host" => HostBench.Run(args[1..]),
    "--help" or "-h" => Help(),
    var only => Parent.Run(only),
};

static int Help()
{
    Console.WriteLine("""
        bench [GROUP]      paired with TorchSharp, every mode; GROUP narrows it: loss gemm norms neighbors augment step,
                           or the beginning of an item's name: nt-xent, clip, …
        bench host [ARGS]  BenchmarkDotNet over the op cases on the CPU device (its arguments follow)
        Example: ./build.sh bench nt-xent
        """);
    return 0;
}
