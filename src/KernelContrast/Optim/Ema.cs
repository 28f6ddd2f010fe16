using KernelContrast.Nn;

namespace KernelContrast.Optim;

/// <summary>
/// Lets a target network follow a trained one as its exponential moving average: target ← decay·target + (1 − decay)·source,
/// all parameters at once. The target's parameters must not be optimized as well.
/// </summary>
/// <remarks>
/// He, Fan, Wu, Xie, Girshick: "Momentum contrast for unsupervised visual representation learning", CVPR 2020 (decay 0.999
/// throughout). Grill et al.: "Bootstrap your own latent", NeurIPS 2020, section 3.2: from 0.996 up to 1 by a cosine,
/// which a number of total steps asks for. Batch norm's running statistics are no parameters: a target that embeds in
/// training gathers its own, as in both papers' code; for one that does not, give all tensors of both
/// (<see cref="Module.NamedTensors"/>).
/// </remarks>
/// <example><code>
/// using var ema = new Ema(target, encoder, decay: 0.996, totalSteps: steps);
/// ema.Reset();
/// ...
/// optimizer.Step();
/// ema.Update();
/// </code></example>
public sealed class Ema : IDisposable
{
    private readonly TensorGroup _group = new();
    private readonly long _totalSteps;
    private readonly bool _forgets;

    /// <summary>An average of one module's parameters in another of the same architecture. Changes nothing yet.</summary>
    /// <param name="target">What follows.</param>
    /// <param name="source">What is followed.</param>
    /// <param name="decay">Share of the target that stays at each update, in [0, 1].</param>
    /// <param name="totalSteps">0: the decay stays as it is (MoCo). Else it grows to 1 over so many updates (BYOL).</param>
    /// <param name="forgetsStart">
    /// Whether the decay of update k (0 at first) is at most (1 + k)/(10 + k): an average that starts from random weights then soon
    /// forgets them, and a short run has a useful one. TensorFlow's <c>num_updates</c> does the same.
    /// </param>
    /// <exception cref="ArgumentException">The parameters do not correspond, or are not on one device; a number is out of its range.</exception>
    public Ema(Module target, Module source, double decay = 0.996, long totalSteps = 0, bool forgetsStart = false)
        : this([.. (target ?? throw new ArgumentNullException(nameof(target))).NamedParameters()], [.. (source ?? throw new ArgumentNullException(nameof(source))).NamedParameters()], decay, totalSteps, forgetsStart) { }

    /// <summary>As above, of any tensors, paired by their place in the lists; names must be equal.</summary>
    public Ema(IReadOnlyList<(string Name, Tensor Tensor)> targets, IReadOnlyList<(string Name, Tensor Tensor)> sources, double decay = 0.996, long totalSteps = 0,
        bool forgetsStart = false)
    {
        ArgumentNullException.ThrowIfNull(targets);
        ArgumentNullException.ThrowIfNull(sources);
        if (!(decay is >= 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(decay), decay, "A decay is from 0 to 1.");
        ArgumentOutOfRangeException.ThrowIfNegative(totalSteps);
        if (targets.Count == 0 || targets.Count != sources.Count)
            throw new ArgumentException($"A target follows a source of the same architecture, but they have {targets.Count} and {sources.Count} parameters.");
        for (int i = 0; i < targets.Count; i++)
        {
            if (targets[i].Name != sources[i].Name || targets[i].Tensor.Shape != sources[i].Tensor.Shape)
                throw new ArgumentException($"A target follows a source of the same architecture, but parameter {i} is '{targets[i].Name}' {targets[i].Tensor.Shape} in one and '{sources[i].Name}' {sources[i].Tensor.Shape} in the other.");
            _group.Add(new(targets[i].Tensor, sources[i].Tensor));
        }
        (BaseDecay, _totalSteps, _forgets) = (decay, totalSteps, forgetsStart);
    }

    /// <summary>The decay of the first update.</summary>
    public double BaseDecay { get; }

    /// <summary>
    /// The decay of the next update: 1 − (1 − base)·(cos(π·k/K) + 1)/2 after k of K updates, or the base itself; at most
    /// (1 + k)/(10 + k) where the start is to be forgotten.
    /// </summary>
    public double Decay
    {
        get
        {
            double decay = _totalSteps == 0 ? BaseDecay : 1 - (1 - BaseDecay) * (Math.Cos(Math.PI * Math.Min(Steps, _totalSteps) / _totalSteps) + 1) / 2;
            return _forgets ? Math.Min(decay, (1.0 + Steps) / (10.0 + Steps)) : decay;
        }
    }

    /// <summary>Updates done. To be saved with a run, and set again when it goes on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is negative.</exception>
    public long Steps
    {
        get;
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            field = value;
        }
    }

    /// <summary>Makes the target equal to its source.</summary>
    public void Reset()
    {
        for (int i = 0; i < _group.Count; i++) _group[i].Parameter.CopyFrom(_group[i].Source);
    }

    /// <summary>Moves the target toward its source. Not seen by the tape.</summary>
    public void Update()
    {
        EmaStepOp.On(_group.Device).Step(_group, (float)(1 - Decay));
        Steps++;
    }

    /// <summary>Releases what a device keeps of the pairs; the tensors are not its own.</summary>
    public void Dispose() => _group.Dispose();
}
