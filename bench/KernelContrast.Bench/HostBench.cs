using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Exporters.Json;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.NoEmit;
using KernelContrast.Cases;

namespace KernelContrast.Bench;

/// <summary>BenchmarkDotNet over the op cases that state their work, on the CPU device.</summary>
internal static class HostBench
{
    internal static int Run(string[] arguments)
    {
        // In process: the project references libtorch, which a generated project would copy for every job.
        ManualConfig config = ManualConfig.CreateEmpty()
            .AddJob(Job.ShortRun.WithToolchain(InProcessNoEmitToolchain.Instance))
            .AddLogger(ConsoleLogger.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .AddColumn(new WorkColumn("GFLOP/s", c => c.Flops), new WorkColumn("GB/s", c => c.Bytes))
            .AddExporter(MarkdownExporter.GitHub, JsonExporter.Brief)
            .WithArtifactsPath(Path.Combine("artifacts", "bench", "host"));
        BenchmarkSwitcher.FromTypes([typeof(CaseBenchmarks)]).Run(arguments.Length > 0 ? arguments : ["--filter", "*"], config);
        return 0;
    }

    private sealed class WorkColumn(string name, Func<OpCase, double> work) : IColumn
    {
        public string Id => name;
        public string ColumnName => name;
        public bool AlwaysShow => true;
        public ColumnCategory Category => ColumnCategory.Custom;
        public int PriorityInCategory => 0;
        public bool IsNumeric => true;
        public UnitType UnitType => UnitType.Dimensionless;
        public string Legend => $"{name} of one forward and backward pass";
        public bool IsAvailable(Summary summary) => true;
        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
        {
            double? nanoseconds = summary[benchmarkCase]?.ResultStatistics?.Median;
            var test = (OpCase)benchmarkCase.Parameters["Case"];
            return nanoseconds is { } ns && work(test) > 0 ? (work(test) / ns).ToString("F1") : "";
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);
    }
}

/// <summary>One row per op case with known bytes or operations: a forward pass, and forward and backward.</summary>
public class CaseBenchmarks
{
    private Tensor[] _inputs = [];
    private Tensor? _upstream;

    [ParamsSource(nameof(Cases))]
    public OpCase Case { get; set; } = null!;

    public static IEnumerable<OpCase> Cases => CaseRunner.AllCases.Where(c => c.Bytes > 0 || c.Flops > 0);

    [GlobalSetup]
    public void Setup()
    {
        _inputs = CaseRunner.CreateInputs(Case, Device.Cpu);
        using var scope = new TensorScope();
        using var unrecorded = new NoGrad();
        Shape shape = Case.Run(_inputs).Shape;
        _upstream = scope.Keep(Tensor.RandomNormal(shape, 9));
    }

    [Benchmark(Baseline = true)]
    public void Forward()
    {
        using var scope = new TensorScope();
        using var unrecorded = new NoGrad();
        Case.Run(_inputs);
    }

    [Benchmark]
    public void ForwardAndBackward()
    {
        using var scope = new TensorScope();
        Tensor output = Case.Run(_inputs);
        if (output.RequiresGrad) output.Backward(_upstream!);
        foreach (Tensor input in _inputs) input.ClearGrad();
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (Tensor input in _inputs) input.Dispose();
        _upstream?.Dispose();
    }
}
