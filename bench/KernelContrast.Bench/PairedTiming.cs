using System.Diagnostics;
using KernelContrast.Cli.Bench;

namespace KernelContrast.Bench;

/// <summary>
/// Runs two sides in turn, A B A B …, so that a drift of the machine's speed falls on both, and forms the ratio pair by
/// pair: its median does not move when one run of either side is disturbed.
/// </summary>
internal static class PairedTiming
{
    private const int MinimumPairs = 5;
    private const int MaximumPairs = 60;
    private const double TurnMilliseconds = 30;

    /// <summary>Warm-up of both sides, then pairs until about <paramref name="seconds"/> have passed.</summary>
    internal static (Timing Ours, Timing Theirs, Timing Ratio) Run(Action ours, Action theirs, double seconds = 2.5)
    {
        // Until the JIT has recompiled what is hot: one call is not enough for items of a millisecond.
        WarmUp(theirs);
        WarmUp(ours);
        int inner = CallsPerTurn(ours);
        Rested(theirs, inner);
        var a = new List<double>();
        var b = new List<double>();
        var ratio = new List<double>();
        long start = Stopwatch.GetTimestamp();
        while (a.Count < MinimumPairs || (a.Count < MaximumPairs && Stopwatch.GetElapsedTime(start).TotalSeconds < seconds))
        {
            double x = Rested(ours, inner), y = Rested(theirs, inner);
            a.Add(x);
            b.Add(y);
            ratio.Add(x / y);
        }
        return (Timing.Of(a), Timing.Of(b), Timing.Of(ratio));
    }

    private static void WarmUp(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        do action();
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < 0.5);
    }

    /// <summary>By the median of some calls: by one, that was disturbed, a turn would be of a few calls, each of which is disturbed as well.</summary>
    private static int CallsPerTurn(Action action)
    {
        Rest();
        action();
        double[] times = [.. Enumerable.Range(0, 9).Select(_ => Repeat(action, 1)).Order()];
        return Math.Max(1, (int)(TurnMilliseconds / Math.Max(1e-3, times[times.Length / 2])));
    }

    /// <summary>After a rest; of short items a tenth more calls come first, unmeasured, while threads wake up.</summary>
    private static double Rested(Action action, int times)
    {
        Rest();
        if (times > 1)
            for (int i = 0; i <= times / 10; i++) action();
        return Repeat(action, times);
    }

    /// <summary>
    /// Until no thread of this process is at work: both sides' spin for a while after their last job (ours 0.2 ms; libgomp's
    /// some 20 ms of processor time, more where they share a processor), and would take the other's processor.
    /// </summary>
    private static void Rest()
    {
        const int SliceMilliseconds = 5, MostSlices = 100;
        for (int slice = 0, quiet = 0; slice < MostSlices && quiet < 2; slice++)
        {
            TimeSpan before = Environment.CpuUsage.TotalTime;
            Thread.Sleep(SliceMilliseconds);
            quiet = (Environment.CpuUsage.TotalTime - before).TotalMilliseconds < 0.1 * SliceMilliseconds ? quiet + 1 : 0;
        }
    }

    private static double Repeat(Action action, int times)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < times; i++) action();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds / times;
    }
}
