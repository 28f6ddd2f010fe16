namespace KernelContrast.Optim;

/// <summary>Where <see cref="Lars"/> multiplies by the learning rate. It matters when the rate changes, as under warm-up.</summary>
public enum LarsMomentum
{
    /// <summary>Inside the momentum's sum, as in SimCLR's code: m ← momentum·m + rate·trust·u; p ← p − m.</summary>
    RateInside,
    /// <summary>Outside, as in MoCo v3's code: m ← momentum·m + trust·u; p ← p − rate·m.</summary>
    RateOutside,
}

/// <summary>
/// Layer-wise adaptive rate scaling, for large batches: each weight's step u = g + decay·p is scaled by the trust ratio
/// η‖p‖ / ‖u‖ (1 when either norm is 0). Biases and normalisation parameters are neither scaled nor decayed.
/// </summary>
/// <remarks>
/// You, Gitman, Ginsburg: "Large batch training of convolutional networks", 2017, with the exceptions of SimCLR (Chen et
/// al. 2020), which also took the norm of g + decay·p in place of ‖g‖ + decay·‖p‖.
/// </remarks>
public sealed class Lars : Optimizer
{
    private readonly Tensor[] _buffers;
    private readonly double _momentum, _trust;
    private readonly LarsMomentum _form;

    /// <summary>An optimizer of these parameters.</summary>
    /// <param name="parameters">By name, as a model's <c>NamedParameters()</c> gives them.</param>
    /// <param name="learningRate">Size of the steps; SimCLR: 0.3 · batch / 256.</param>
    /// <param name="momentum">Share of the last step that is taken again, in [0, 1).</param>
    /// <param name="weightDecay">SimCLR: 1e-6.</param>
    /// <param name="trust">η, above 0.</param>
    /// <param name="form">Where the learning rate enters.</param>
    /// <exception cref="ArgumentException">A number is out of its range; there are no parameters.</exception>
    public Lars(IReadOnlyList<(string Name, Tensor Tensor)> parameters, double learningRate, double momentum = 0.9, double weightDecay = 1e-6,
        double trust = 1e-3, LarsMomentum form = LarsMomentum.RateInside) : base(parameters, learningRate, weightDecay, decayVectors: false)
    {
        CheckShare(momentum, nameof(momentum));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(trust);
        (_momentum, _trust, _form) = (momentum, trust, form);
        _buffers = Remember("momentum");
    }

    private protected override GroupEntry Entry(int index, Tensor parameter, Tensor grad, double decay) =>
        new(parameter, grad, _buffers[index], Decay: decay, Scaled: !IsVector(parameter));

    private protected override void Step(TensorGroup group)
    {
        bool inside = _form == LarsMomentum.RateInside;
        LarsStepOp.On(group.Device).Step(group, inside ? LearningRate : 1, inside ? 1 : (float)LearningRate, (float)_momentum, _trust);
    }
}
