namespace KernelContrast;

/// <summary>
/// One step of stochastic gradient descent, in place: g ← grad + decay·p; m ← momentum·m + g;
/// p ← p − rate·(g + momentum·m) with Nesterov, else p − rate·m; without momentum p − rate·g.
/// </summary>
internal static partial class SgdStepOp
{
    internal abstract class Kernels
    {
        /// <summary><paramref name="buffer"/> is null without momentum.</summary>
        internal abstract void Step(Tensor parameter, Tensor? buffer, Tensor grad, float rate, float momentum, bool nesterov, float decay);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();
}
