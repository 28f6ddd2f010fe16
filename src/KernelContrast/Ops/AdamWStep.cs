namespace KernelContrast;

/// <summary>
/// One step of AdamW over all tensors of a group, in place: m ← β₁m + (1 − β₁)g; v ← β₂v + (1 − β₂)g²;
/// p ← p·(1 − rate·decay) − (rate / c₁) · m / (√v / √c₂ + ε), with c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ after t steps.
/// </summary>
internal static partial class AdamWStepOp
{
    internal abstract class Kernels
    {
        /// <summary>The group's first is m, its second v.</summary>
        internal abstract void Step(TensorGroup group, in Scalars scalars);
    }

    /// <param name="Beta1">Decay of the mean.</param>
    /// <param name="Beta2">Decay of the mean square.</param>
    /// <param name="Rate">rate / (1 − β₁ᵗ)</param>
    /// <param name="SquareScale">1 / √(1 − β₂ᵗ)</param>
    /// <param name="Epsilon">ε</param>
    /// <param name="LearningRate">rate</param>
    internal readonly record struct Scalars(float Beta1, float Beta2, float Rate, float SquareScale, float Epsilon, double LearningRate);

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    /// <summary>The numbers of step <paramref name="step"/>, counted from 1.</summary>
    internal static Scalars ScalarsOf(long step, double rate, double beta1, double beta2, double epsilon) => new(
        (float)beta1, (float)beta2, (float)(rate / (1 - Math.Pow(beta1, step))), (float)(1 / Math.Sqrt(1 - Math.Pow(beta2, step))),
        (float)epsilon, rate);
}
