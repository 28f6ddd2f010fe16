using KernelContrast.Cases;

namespace KernelContrast.Cli.Bench;

/// <summary>Something to time on a device.</summary>
/// <param name="Family">What <c>bench kernels FAMILY</c> takes.</param>
/// <param name="Item">The op and its sizes.</param>
/// <param name="Precision">In which numbers products are formed, as <c>--precision</c> names it.</param>
/// <param name="Bytes">What it must move at least.</param>
/// <param name="Flops">Its floating-point operations in products.</param>
/// <param name="Prepare">Its inputs on a device, and the work.</param>
internal sealed record KernelRow(string Family, string Item, string Precision, long Bytes, long Flops, Func<Device, KernelWork> Prepare)
{
    /// <summary>Exponentials it must compute.</summary>
    public long Exponentials { get; init; }

    /// <summary>Whether it replays a graph, which the emulated driver refuses: the row is then left out.</summary>
    public bool NeedsGraphs { get; init; }

    /// <summary>Of losses: the operations of one product of all rows with all columns, 2N²D.</summary>
    public long GemmFlops { get; init; }

    /// <summary>Whether those of compute capability 9.0 keep its weights in registers, if they may: losses of at most 128 numbers a row.</summary>
    public bool KeepsWeights { get; init; }

    /// <summary>Whether it is also computed by kernels for compute capability 9.0 alone: losses and the cosine matrix in bfloat16.</summary>
    public bool HasHopperKernels => Precision == "bf16" && (GemmFlops > 0 || Family == "cosine");
}

/// <summary>Prepared work: issues itself to the device, again and again.</summary>
/// <param name="run">Issues the work once; what it allocates it releases.</param>
/// <param name="owned">Disposed with the work.</param>
/// <param name="error">Largest error against float64 as a share of the root mean square; null where that is not affordable.</param>
internal sealed class KernelWork(Action run, IEnumerable<IDisposable> owned, Func<double>? error = null) : IDisposable
{
    internal void Run() => run();

    internal double? Error() => error?.Invoke();

    public void Dispose()
    {
        foreach (IDisposable thing in owned) thing.Dispose();
    }
}

/// <summary>Gives rows of <c>bench kernels</c>. Found by reflection: new rows are a new file.</summary>
internal interface IKernelRows
{
    /// <param name="tiny">Small enough for the emulated driver: to test the rows, not to time anything.</param>
    IEnumerable<KernelRow> Rows(bool tiny);
}

/// <summary>The op cases that are benchmark rows, forward and backward; in small, each op's first ordinary case.</summary>
internal sealed class OpCaseRows : IKernelRows
{
    /// <summary>A naive reference of more operations or elements than this takes too long.</summary>
    private const long AffordableFlops = 1L << 30, AffordableElements = 1L << 25;

    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        foreach (IGrouping<string, OpCase> op in CaseRunner.AllCases.Where(c => c.BenchmarkOnly).GroupBy(c => c.Op))
            foreach (OpCase test in tiny ? CaseRunner.AllCases.Where(c => c.Op == op.Key && !c.BenchmarkOnly).Take(1) : op)
                yield return Row(test);
    }

    private static KernelRow Row(OpCase test) => new(test.Op, test.Name, KernelBench.NameOf(test.Precision), test.Bytes, test.Flops, device =>
    {
        Tensor[] inputs = CaseRunner.CreateInputs(test, device);
        Tensor upstream;
        using (new NoGrad())
        using (Tensor first = test.Run(inputs)) upstream = Tensor.RandomNormal(first.Shape, 99, device);
        return new(() =>
        {
            using var scope = new TensorScope();
            Tensor output = test.Run(inputs);
            if (!test.CheckGradient) return;
            output.Backward(upstream);
            foreach (Tensor input in inputs) input.ClearGrad();
        }, [.. inputs, upstream], Affordable(test) ? () => ErrorOf(test, device) : null);
    })
    {
        GemmFlops = 2 * Similarities(test) * (test.Op == "nt-xent" ? test.Inputs[0].Shape[1] : 0),
        Exponentials = Similarities(test),
    };

    /// <summary>Of NT-Xent, N².</summary>
    private static long Similarities(OpCase test) => test.Op == "nt-xent" ? (long)test.Inputs[0].Shape[0] * test.Inputs[0].Shape[0] : 0;

    private static bool Affordable(OpCase test) =>
        test.Flops <= AffordableFlops && test.Inputs.Sum(i => i.Shape.Count) <= AffordableElements && test.Precision == Precision.Float32;

    private static double ErrorOf(OpCase test, Device device)
    {
        double[] expected = test.Reference([.. test.Inputs.Select(i => i.Values)]);
        float[] actual = CaseRunner.Output(test, device);
        // A case that only serves as a benchmark may come without a reference.
        return expected.Length == actual.Length ? KernelBench.RelativeError(actual, expected) : double.NaN;
    }
}
