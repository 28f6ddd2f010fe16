using System.Diagnostics;
using System.Text.Json.Serialization;
using KernelContrast.Cases;
using KernelContrast.Devices;

namespace KernelContrast.Cli.Bench;

/// <summary>One loss at one size, timed alone.</summary>
/// <param name="Item">The loss and its sizes.</param>
/// <param name="Kind">As the tool names it.</param>
/// <param name="Rows">N.</param>
/// <param name="Columns">What the rows are contrasted with: N, or MoCo's queue.</param>
/// <param name="Dim">D.</param>
/// <param name="Temperature">τ.</param>
/// <param name="Precision">In which numbers products are formed.</param>
/// <param name="Hot">Milliseconds of forward and backward, one after the other.</param>
/// <param name="Cold">The same with the caches overwritten before each.</param>
/// <param name="GemmEquivalents">Hot time ÷ time of one product of all rows with all columns at the device's measured rate.</param>
/// <param name="FloorGemmEquivalents">What the products alone need (see <see cref="LossProblem.Products"/>).</param>
/// <param name="Error">Largest difference of the gradients to float64 as a share of their root mean square; null where that would take too long.</param>
internal sealed record LossTiming(string Item, string Kind, int Rows, int Columns, int Dim, float Temperature, string Precision,
    Timing Hot, Timing Cold, double GemmEquivalents, double FloorGemmEquivalents, double? Error)
{
    private const long ExactPairs = 1L << 19;

    /// <summary>Share of the time that the products alone would take, in per cent.</summary>
    public double PercentOfFloor => 100 * FloorGemmEquivalents / GemmEquivalents;

    /// <summary>Warms up, then times for about so many seconds, at least five times each.</summary>
    internal static LossTiming Measure(string kind, LossProblem problem, string precision, double gemmGflops, Device device, double seconds)
    {
        using var timer = new DeviceTimer(device);
        long start = Stopwatch.GetTimestamp();
        do timer.Milliseconds(problem.Run);
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < Math.Min(0.5, seconds));
        Timing hot = Repeat(cold: false), cold = Repeat(cold: true);
        return new(problem.Name, kind, problem.Rows, problem.Columns, problem.Dim, problem.Temperature, precision, hot, cold,
            hot.Median * gemmGflops * 1e6 / problem.ProductFlops, problem.Products, ErrorOf(problem));

        Timing Repeat(bool cold)
        {
            var times = new List<double>();
            long begin = Stopwatch.GetTimestamp();
            while (times.Count < 5 || (times.Count < 200 && Stopwatch.GetElapsedTime(begin).TotalSeconds < seconds / 2)) times.Add(timer.Milliseconds(problem.Run, cold));
            return Timing.Of(times);
        }
    }

    private static double? ErrorOf(LossProblem problem)
    {
        if ((long)problem.Rows * problem.Columns > ExactPairs) return null;
        double[] exact = ContrastExact.Of(problem.Kind, problem.Embeddings.ToArray(), problem.Keys?.ToArray(), problem.Positives?.ToArray(),
            problem.Dim, problem.Temperature, problem.Kind == Losses.LossKind.SigLip ? LossProblem.Bias : 0, problem.Labels?.ToArray<int>()).Gradients;
        float[] ours = problem.Evaluate().Gradients;
        double square = 0, worst = 0;
        for (int i = 0; i < exact.Length; i++)
        {
            square += exact[i] * exact[i];
            double difference = Math.Abs(ours[i] - exact[i]);
            if (!(difference <= worst)) worst = difference;
        }
        return square == 0 ? null : worst / Math.Sqrt(square / exact.Length);
    }
}

/// <summary>What <c>bench loss --json</c> writes.</summary>
internal sealed record LossReport(string Date, string Version, string Device, string Description, double GemmGflops, IReadOnlyList<LossTiming> Rows);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(LossReport))]
internal sealed partial class LossBenchJson : JsonSerializerContext;
