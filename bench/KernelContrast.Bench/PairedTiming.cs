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

    /// <summary>Warm-up of both sides, then pairs until about <paramref name="seconds"/> have passed.</summary>
    internal static (Timing Ours, Timing Theirs, Timing Ratio) Run(Action ours, Action theirs, double seconds = 2.5)
    {
        // Until the JIT has recompiled what is hot: one call is not enough for items of a millisecond.
        WarmUp(ours);
        WarmUp(theirs);
        int inner = Math.Max(1, (int)(0.03 / Math.Max(1e-6, Once(ours) / 1000)));
        theirs();
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

    /// <summary>
    /// After a pause: both sides' threads spin for a while after their last job, and would take the other's processor
    /// (without it ratios of small items were about twice as large, on a busy machine).
    /// </summary>
    private static double Rested(Action action, int times)
    {
        Thread.Sleep(10);
        return Repeat(action, times);
    }

    private static double Repeat(Action action, int times)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < times; i++) action();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds / times;
    }

    private static double Once(Action action) => Repeat(action, 1);
}
