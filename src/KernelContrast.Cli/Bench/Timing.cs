namespace KernelContrast.Cli.Bench;

/// <summary>Times or ratios of one side: median with the 20th and 80th percentile.</summary>
internal readonly record struct Timing(double Median, double P20, double P80)
{
    internal static Timing Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return new(At(sorted, 0.5), At(sorted, 0.2), At(sorted, 0.8));
    }

    internal static double At(double[] sorted, double quantile)
    {
        double position = quantile * (sorted.Length - 1);
        int below = (int)position;
        int above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
    }
}
