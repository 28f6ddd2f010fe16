namespace KernelContrast;

/// <summary>
/// A LARS step over all tensors of a group, in place. With u = grad + decay·p and, for the scaled tensors,
/// ratio = trust·‖p‖ / ‖u‖ (1 where either norm is 0, and for the others): m ← momentum·m + inner·ratio·u;
/// p ← p − outer·m. The caller puts the learning rate into inner or outer.
/// </summary>
internal static partial class LarsStepOp
{
    internal abstract class Kernels
    {
        /// <summary>The group's first is m. The norms' sums have one order for any number of threads.</summary>
        internal abstract void Step(TensorGroup group, double inner, float outer, float momentum, double trust);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();
}
