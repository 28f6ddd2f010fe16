using KernelContrast.Bench.Items;
using KernelContrast.Cli.Plots;

namespace KernelContrast.Bench;

/// <summary>NT-Xent's time and memory against the number of rows, ours and each peer's, as PNG.</summary>
internal static class LossFigure
{
    /// <returns>Whether there was anything to draw.</returns>
    internal static bool Save(string path, BenchReport report)
    {
        // The one family of rows measured at many sizes, in the malloc mode that is everybody's.
        const string Prefix = "NT-Xent fwd+bwd N=";
        (int Rows, BenchRow Row)[] rows = [.. report.Rows.Where(r => r.Mode == "default" && r.Item.StartsWith(Prefix, StringComparison.Ordinal) && r.Item.EndsWith("τ=0.1", StringComparison.Ordinal))
            .Select(r => (int.Parse(r.Item[Prefix.Length..].Split(' ')[0]), r))];
        if (rows.Length == 0) return false;
        string user = LossBench.NameOf(TorchStyle.User);
        var time = new List<ScalingCurve> { Curve("ours", rows.Where(r => r.Row.Peer == user), r => r.Ours.Median) };
        time.AddRange(rows.GroupBy(r => r.Row.Peer).Select(peer => Curve($"TorchSharp, {peer.Key}", peer, r => r.Theirs.Median)));
        if (report.GemmGflops is { } rate)
        {
            double[] sizes = [.. rows.Select(r => (double)r.Rows).Distinct().Order()];
            time.Add(new("floor: 3N²D at the rate of our product", sizes, [.. sizes.Select(n => 3 * n * n * MemoryProbe.Dim / rate / 1e6)], IsFloor: true));
        }
        var panels = new List<ScalingPanel> { new("NT-Xent forward + backward, ms", time) };
        ScalingCurve[] memory = [.. report.Memory.Where(m => MemoryProbe.Sizes.Contains(m.Rows)).GroupBy(m => m.Side).Select(side => new ScalingCurve(
            side.Key == MemoryProbe.Ours ? side.Key : $"TorchSharp, {side.Key}", [.. side.Select(m => (double)m.Rows)], [.. side.Select(m => Math.Max(m.ExtraMebibytes, 0.1))]))];
        if (memory.Length > 0) panels.Add(new("extra memory, MiB", memory));
        ScalingPlot.Save(path, "N, rows of 128", panels);
        return true;
    }

    private static ScalingCurve Curve(string name, IEnumerable<(int Rows, BenchRow Row)> rows, Func<BenchRow, double> value)
    {
        (int Rows, BenchRow Row)[] sorted = [.. rows.OrderBy(r => r.Rows)];
        return new(name, [.. sorted.Select(r => (double)r.Rows)], [.. sorted.Select(r => value(r.Row))]);
    }
}
