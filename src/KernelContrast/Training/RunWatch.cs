namespace KernelContrast.Training;

/// <summary>Looks at losses and embeddings for signs that a run is going wrong, and says each thing once.</summary>
internal sealed class RunWatch(SimClrConfig config, long warmupSteps)
{
    // Fresh encoders see all images as alike, so a loss near collapse means nothing in the first steps.
    private const int Window = 50;
    private const double NearCollapse = 0.995;
    private const double SmallSpread = 0.05;

    private readonly Queue<double> _losses = new();
    private bool _saidLoss, _saidSpread;

    /// <summary>The loss of embeddings that are all one point: every other row is as near as the positive.</summary>
    internal double CollapsedLoss { get; } = Math.Log(2.0 * config.BatchSize - 1);

    /// <summary>A warning, or null.</summary>
    internal string? OnStep(long step, double loss)
    {
        _losses.Enqueue(loss);
        if (_losses.Count > Window) _losses.Dequeue();
        if (_saidLoss || _losses.Count < Window || step < warmupSteps + Window) return null;
        double mean = _losses.Average();
        if (mean < NearCollapse * CollapsedLoss) return null;
        _saidLoss = true;
        return $"The loss has been {mean:F3} over the last {Window} steps; embeddings that are all alike have ln(2·{config.BatchSize} − 1) = {CollapsedLoss:F3}. "
            + "The encoder learns nothing, or has collapsed. Try a lower learning rate, a longer warm-up, or a lower temperature.";
    }

    /// <summary>A warning, or null.</summary>
    internal string? OnEpoch(int epoch, EmbeddingHealth health)
    {
        if (_saidSpread || health.Spread >= SmallSpread) return null;
        _saidSpread = true;
        return $"After epoch {epoch} the embeddings are nearly one point: their spread is {health.Spread:F4}, about 1 is healthy. "
            + "The encoder is collapsing. Try a lower learning rate, less weight decay, or stronger augmentations.";
    }

    internal static string NotFinite(long step, double rate, string what, string? checkpoint) =>
        $"{what} at step {step} (learning rate {rate:G3}). Nothing was saved since; "
        + (checkpoint is null ? "there is no checkpoint yet. " : $"{checkpoint} is from before. ")
        + "Start again with a lower learning rate, a longer warm-up, or a higher temperature, and look for images that are broken.";
}
