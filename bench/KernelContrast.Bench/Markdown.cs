using System.Text;

namespace KernelContrast.Bench;

/// <summary>The report as a table for people.</summary>
internal static class Markdown
{
    internal static string Of(BenchReport report)
    {
        var text = new StringBuilder();
        text.AppendLine($"{report.Date}, commit {report.Commit}; {report.Machine}; {report.Threads} threads each; {report.Runtime}; peer: {report.Peer}.");
        text.AppendLine();
        text.AppendLine("| item | peer | mode | ours ms [p20, p80] | peer ms | ratio [p20, p80] | target | GFLOP/s | GB/s | error | peer's error |");
        text.AppendLine("|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (BenchRow row in report.Rows)
            text.AppendLine($"| {row.Item} | {row.Peer} | {row.Mode} | {row.Ours.Median:G4} [{row.Ours.P20:G4}, {row.Ours.P80:G4}] | {row.Theirs.Median:G4} "
                + $"| **{row.Ratio.Median:F2}** [{row.Ratio.P20:F2}, {row.Ratio.P80:F2}] | {Target(row)} "
                + $"| {row.Gflops:F0} | {row.GigabytesPerSecond:F1} | {row.Error:0.0e+0} | {row.TheirError:0.0e+0} |");
        if (report.GemmGflops is { } rate)
            text.AppendLine($"{Environment.NewLine}Our matrix product of 2048³ in the same run: {rate:F0} GFLOP/s.");
        if (report.Memory.Count > 0)
        {
            text.AppendLine($"{Environment.NewLine}| NT-Xent, N rows of 128 | side | extra memory MiB | process in all MiB |");
            text.AppendLine("|---|---|---|---|");
            foreach (MemoryRow row in report.Memory) text.AppendLine($"| N={row.Rows} | {row.Side} | {row.ExtraMebibytes:F0} | {row.PeakMebibytes:F0} |");
        }
        return text.ToString();
    }

    private static string Target(BenchRow row) => row.Target is { } target ? $"≤ {target:F2} {(row.TargetMet == true ? "✓" : "✗")}" : "";
}
