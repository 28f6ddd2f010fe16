using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using KernelContrast.Cli.Bench;
using KernelContrast.Cli.Plots;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>bench loss</c>: times the losses on this machine, without a peer.</summary>
internal static class LossBenchCommand
{
    internal static VerbCommand Create()
    {
        var kinds = new Argument<string[]>("kinds") { Description = "Which losses; all when none is given", HelpName = "KIND", Arity = ArgumentArity.ZeroOrMore };
        kinds.AcceptOnlyFromAmong([.. LossProblem.Kinds.Keys]);
        var rows = new Option<int[]>("--rows") { Description = "Rows N, as 1024 4096", HelpName = "N", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [256, 1024, 4096] };
        var dim = new Option<int>("--dim") { Description = "Columns D", HelpName = "D", DefaultValueFactory = _ => 128 };
        var temperature = new Option<float>("--temperature") { Description = "τ", HelpName = "T", DefaultValueFactory = _ => 0.1f };
        var queue = new Option<int>("--queue") { Description = "Negatives in MoCo's queue", HelpName = "N", DefaultValueFactory = _ => LossProblem.DefaultQueue };
        var precision = new Option<string>("--precision") { Description = "In which numbers products are formed", DefaultValueFactory = _ => "f32" };
        precision.AcceptOnlyFromAmong("f32", "tf32", "bf16");
        var seconds = new Option<double>("--seconds") { Description = "Time spent on each line", HelpName = "S", DefaultValueFactory = _ => 2 };
        var product = new Option<int>("--gemm") { Description = "Size of the matrix product that times are held against", HelpName = "N", DefaultValueFactory = _ => 2048 };
        var json = new Option<string?>("--json") { Description = "Write the figures here too", HelpName = "FILE" };
        var plot = new Option<string?>("--plot") { Description = "Draw time against N, with the floor", HelpName = "FILE.png" };
        var serve = new Option<bool>("--serve") { Description = "Take problems as lines of JSON from standard input, for a program that takes turns" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("loss",
            "Time the losses, forward and backward, on random normal rows. GEMM-eq.: time ÷ that of one product of all rows with all columns at the rate that "
            + "this device's own product reaches; floor: what the products alone need. The host's clock on the CPU, events on CUDA.",
            "kernelcontrast bench loss nt-xent clip --rows 1024 4096 --plot time.png")
        { kinds, rows, dim, temperature, queue, precision, seconds, product, json, plot, serve };
        device.AddTo(verb);
        verb.Outputs = [json, plot];
        verb.SetAction(parsed =>
        {
            Device on = device.Open(parsed);
            if (parsed.GetValue(serve))
            {
                using var server = new LossServer(on);
                server.Run(Console.In, Console.Out);
                return 0;
            }
            Run(on, parsed.GetValue(kinds) is { Length: > 0 } given ? given : [.. LossProblem.Kinds.Keys], parsed.GetValue(rows)!, parsed.GetValue(dim),
                parsed.GetValue(temperature), parsed.GetValue(queue), parsed.GetValue(precision)!, parsed.GetValue(seconds), parsed.GetValue(product),
                parsed.GetValue(json), parsed.GetValue(plot));
            return 0;
        });
        return verb;
    }

    private static void Run(Device device, string[] kinds, int[] rows, int dim, float temperature, int queue, string precision, double seconds, int product, string? json, string? plot)
    {
        if (rows.Length == 0 || rows.Any(n => n < 2) || dim < 1 || queue < 1 || product < 1)
            throw new UserError("--rows are 2 or more, --dim, --queue and --gemm 1 or more.");
        if (!(seconds > 0)) throw new UserError($"--seconds is {seconds}, expected a positive number.");
        double rate = GemmRate.Measure(device, product);
        var timings = new List<LossTiming>();
        foreach (string kind in kinds)
            foreach (int n in rows.Distinct().Order())
                timings.Add(UserError.Check(() =>
                {
                    using var problem = new LossProblem(LossProblem.Kinds[kind], n, dim, temperature, queue, device, LossProblem.PrecisionOf(precision));
                    return LossTiming.Measure(kind, problem, precision, rate, device, seconds);
                }));
        Terminal.Line($"{device}, {device.Description}; its product of {product}³ in float32: {rate:N0} GFLOP/s");
        Terminal.Table(["loss", "hot ms", "p20", "p80", "cold ms", "GEMM-eq.", "floor", "% of floor", "error"], [.. timings.Select(t => new[]
        {
            t.Item, Number(t.Hot.Median), Number(t.Hot.P20), Number(t.Hot.P80), Number(t.Cold.Median), t.GemmEquivalents.ToString("F2", CultureInfo.InvariantCulture),
            t.FloorGemmEquivalents.ToString("F0", CultureInfo.InvariantCulture), t.PercentOfFloor.ToString("F0", CultureInfo.InvariantCulture),
            t.Error?.ToString("0.0e+0", CultureInfo.InvariantCulture) ?? "",
        })]);
        if (json is not null)
        {
            var report = new LossReport(DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture),
                typeof(Tensor).Assembly.GetName().Version!.ToString(), device.Name, device.Description, rate, timings);
            AtomicFile.Write(json, stream => JsonSerializer.Serialize(stream, report, LossBenchJson.Default.LossReport));
        }
        if (plot is not null) ScalingPlot.Save(plot, $"N, rows of {dim}", Panels(timings, rate));
    }

    /// <summary>A panel for each loss: its time hot and cold, and the floor.</summary>
    private static ScalingPanel[] Panels(List<LossTiming> timings, double rate) => [.. timings.GroupBy(t => t.Kind).Select(kind =>
    {
        double[] sizes = [.. kind.Select(t => (double)t.Rows)];
        return new ScalingPanel($"{kind.Key} forward + backward, ms",
        [
            new("hot", sizes, [.. kind.Select(t => t.Hot.Median)]),
            new("cold", sizes, [.. kind.Select(t => t.Cold.Median)]),
            new("floor: its products alone", sizes, [.. kind.Select(t => t.FloorGemmEquivalents * 2.0 * t.Rows * t.Columns * t.Dim / rate / 1e6)], IsFloor: true),
        ]);
    })];

    private static string Number(double milliseconds) => milliseconds.ToString("G4", CultureInfo.InvariantCulture);
}
