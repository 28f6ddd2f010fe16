namespace KernelContrast.Optim;

/// <summary>
/// Stochastic gradient descent with momentum, in PyTorch's form: g = ∇p + decay·p; m ← momentum·m + g; p ← p − rate·m,
/// or p − rate·(g + momentum·m) with Nesterov.
/// </summary>
/// <remarks>Sutskever, Martens, Dahl, Hinton: "On the importance of initialization and momentum in deep learning", ICML 2013.</remarks>
public sealed class Sgd : Optimizer
{
    private readonly Tensor[]? _buffers;
    private readonly float _momentum;
    private readonly bool _nesterov;

    /// <summary>An optimizer of these parameters.</summary>
    /// <param name="parameters">By name, as a model's <c>NamedParameters()</c> gives them.</param>
    /// <param name="learningRate">Size of the steps.</param>
    /// <param name="momentum">Share of the last step that is taken again, in [0, 1).</param>
    /// <param name="nesterov">Nesterov's look-ahead; needs momentum.</param>
    /// <param name="weightDecay">λ of the penalty ½λ‖p‖².</param>
    /// <param name="decayVectors">Whether biases and normalisation parameters decay too, as in PyTorch.</param>
    /// <exception cref="ArgumentException">A number is out of its range; there are no parameters.</exception>
    public Sgd(IReadOnlyList<(string Name, Tensor Tensor)> parameters, double learningRate, double momentum = 0, bool nesterov = false,
        double weightDecay = 0, bool decayVectors = true) : base(parameters, learningRate, weightDecay, decayVectors)
    {
        CheckShare(momentum, nameof(momentum));
        if (nesterov && momentum == 0) throw new ArgumentException("Nesterov's method needs a momentum above 0.");
        _momentum = (float)momentum;
        _nesterov = nesterov;
        if (momentum > 0) _buffers = Remember("momentum");
    }

    private protected override GroupEntry Entry(int index, Tensor parameter, Tensor grad, double decay) =>
        new(parameter, grad, _buffers?[index], Decay: decay);

    private protected override void Step(TensorGroup group) => SgdStepOp.On(group.Device).Step(group, (float)LearningRate, _momentum, _nesterov);
}
