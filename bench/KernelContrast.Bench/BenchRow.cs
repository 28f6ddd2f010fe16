using System.Text.Json.Serialization;
using KernelContrast.Cli.Bench;

namespace KernelContrast.Bench;

/// <summary>One line of the table: an item in one mode.</summary>
/// <param name="Group">loss, gemm, norms, neighbors, augment, step.</param>
/// <param name="Item">What was timed, with its sizes.</param>
/// <param name="Peer">How the peer is written, where there are several: user, in place, chunked.</param>
/// <param name="Mode">default or tuned malloc; with " avx2" where vectors were narrowed on both sides.</param>
/// <param name="Gflops">Ours: floating-point operations ÷ median time; null where they are not the point.</param>
/// <param name="GigabytesPerSecond">Ours: least bytes moved ÷ median time; null likewise.</param>
/// <param name="Error">Ours against float64: largest difference as a share of the reference's root mean square.</param>
/// <param name="TheirError">The same of the peer.</param>
/// <param name="Target">The ratio to reach, when one is set for this mode.</param>
internal sealed record BenchRow(
    string Group, string Item, string Peer, string Mode, Timing Ours, Timing Theirs, Timing Ratio,
    double? Gflops, double? GigabytesPerSecond, double? Error, double? TheirError, double? Target)
{
    [JsonIgnore]
    public bool? TargetMet => Target is { } target ? Ratio.Median <= target : null;
}

/// <summary>The peak memory of a process that computed one thing.</summary>
internal sealed record MemoryRow(string Item, int Rows, string Side, double PeakMebibytes, double BaselineMebibytes)
{
    public double ExtraMebibytes => PeakMebibytes - BaselineMebibytes;
}

/// <param name="GemmGflops">GFLOP/s of our own matrix product of 2048³ in the same run, when the losses were measured: their floor.</param>
internal sealed record BenchReport(
    string Date, string Commit, string Machine, int Threads, string Runtime, string Peer, List<BenchRow> Rows, List<MemoryRow> Memory,
    double? GemmGflops);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(BenchReport))]
[JsonSerializable(typeof(List<BenchRow>))]
internal sealed partial class BenchJson : JsonSerializerContext;
