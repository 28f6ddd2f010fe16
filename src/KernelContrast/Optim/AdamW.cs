namespace KernelContrast.Optim;

/// <summary>
/// Adam with decoupled weight decay: m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
/// p ← p − rate·decay·p − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε).
/// </summary>
/// <remarks>
/// Loshchilov, Hutter: "Decoupled weight decay regularization", ICLR 2019; as in PyTorch, decay is multiplied by the
/// learning rate. t counts the optimizer's steps, also for a parameter that had no gradient in some of them.
/// </remarks>
public sealed class AdamW : Optimizer
{
    private readonly Tensor[] _means, _squares;
    private readonly double _beta1, _beta2, _epsilon;

    /// <summary>An optimizer of these parameters.</summary>
    /// <param name="parameters">By name, as a model's <c>NamedParameters()</c> gives them.</param>
    /// <param name="learningRate">Size of the steps.</param>
    /// <param name="beta1">Memory of the mean gradient, in [0, 1).</param>
    /// <param name="beta2">Memory of the mean squared gradient, in [0, 1).</param>
    /// <param name="epsilon">Added to the root, above 0.</param>
    /// <param name="weightDecay">Share of a parameter taken away per step and unit of learning rate.</param>
    /// <param name="decayVectors">Whether biases and normalisation parameters decay too, as in PyTorch.</param>
    /// <exception cref="ArgumentException">A number is out of its range; there are no parameters.</exception>
    public AdamW(IReadOnlyList<(string Name, Tensor Tensor)> parameters, double learningRate = 1e-3, double beta1 = 0.9, double beta2 = 0.999,
        double epsilon = 1e-8, double weightDecay = 1e-2, bool decayVectors = true) : base(parameters, learningRate, weightDecay, decayVectors)
    {
        CheckShare(beta1, nameof(beta1));
        CheckShare(beta2, nameof(beta2));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(epsilon);
        (_beta1, _beta2, _epsilon) = (beta1, beta2, epsilon);
        _means = Remember("mean");
        _squares = Remember("square");
    }

    private protected override GroupEntry Entry(int index, Tensor parameter, Tensor grad, double decay) =>
        new(parameter, grad, _means[index], _squares[index], decay);

    private protected override void Step(TensorGroup group) =>
        AdamWStepOp.On(group.Device).Step(group, AdamWStepOp.ScalarsOf(Steps, LearningRate, _beta1, _beta2, _epsilon));
}
