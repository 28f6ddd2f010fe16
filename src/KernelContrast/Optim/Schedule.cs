namespace KernelContrast.Optim;

/// <summary>A learning rate for each step: a pure function of the step's number, so a run that goes on needs no memory of it.</summary>
public abstract class Schedule
{
    /// <summary>The rate of step <paramref name="step"/>, counted from 0.</summary>
    public abstract double At(long step);

    /// <summary>The same rate at every step.</summary>
    public static Schedule Constant(double rate) => new ConstantSchedule(rate);

    private sealed class ConstantSchedule(double rate) : Schedule
    {
        public override double At(long step) => rate;
    }
}

/// <summary>
/// Linear warm-up, then half a cosine: peak·(t + 1) / W for t &lt; W, then
/// final + (peak − final) · ½(1 + cos(π (t − W) / (T − W))), and final from step T on.
/// </summary>
/// <remarks>
/// Loshchilov, Hutter: "SGDR", ICLR 2017, without restarts; warm-up as in Goyal et al. 2017. SimCLR's warm-up is
/// peak·t / W, whose first step changes nothing.
/// </remarks>
public sealed class WarmupCosine : Schedule
{
    private readonly double _peak, _final;
    private readonly long _warmup, _total;

    /// <summary>A schedule.</summary>
    /// <param name="peak">The highest rate.</param>
    /// <param name="warmupSteps">W, from 0 to <paramref name="totalSteps"/>.</param>
    /// <param name="totalSteps">T, at least 1.</param>
    /// <param name="final">The rate at the end.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is out of its range.</exception>
    public WarmupCosine(double peak, long warmupSteps, long totalSteps, double final = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(peak);
        ArgumentOutOfRangeException.ThrowIfNegative(final);
        ArgumentOutOfRangeException.ThrowIfLessThan(totalSteps, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(warmupSteps);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(warmupSteps, totalSteps);
        (_peak, _warmup, _total, _final) = (peak, warmupSteps, totalSteps, final);
    }

    /// <inheritdoc/>
    public override double At(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        if (step < _warmup) return _peak * (step + 1) / _warmup;
        if (step >= _total) return _final;
        double progress = (double)(step - _warmup) / (_total - _warmup);
        return _final + (_peak - _final) * 0.5 * (1 + Math.Cos(Math.PI * progress));
    }
}

/// <summary>How a learning rate grows with the batch (Chen et al., "A simple framework for contrastive learning", 2020, appendix B.1).</summary>
public static class BatchScaling
{
    /// <summary>rate · batch / 256; SimCLR uses it with LARS and a rate of 0.3.</summary>
    public static double Linear(double rate, int batch) => rate * batch / 256;

    /// <summary>rate · √batch; SimCLR uses it with a rate of 0.075 for small batches and short training.</summary>
    public static double SquareRoot(double rate, int batch) => rate * Math.Sqrt(batch);
}
