namespace KernelContrast;

/// <summary>
/// One step of stochastic gradient descent over all tensors of a group, in place: g ← grad + decay·p;
/// m ← momentum·m + g; p ← p − rate·(g + momentum·m) with Nesterov, else p − rate·m; without momentum p − rate·g.
/// </summary>
internal static partial class SgdStepOp
{
    internal abstract class Kernels
    {
        /// <summary>The group's first is m; null without momentum.</summary>
        internal abstract void Step(TensorGroup group, float rate, float momentum, bool nesterov);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();
}
