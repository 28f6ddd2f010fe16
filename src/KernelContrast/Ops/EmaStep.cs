namespace KernelContrast;

/// <summary>
/// An exponential moving average of all tensors of a group, in place: p ← p + rate·(source − p), rate = 1 − decay. In
/// this form a tensor that equals its source keeps its bits.
/// </summary>
internal static partial class EmaStepOp
{
    internal abstract class Kernels
    {
        internal abstract void Step(TensorGroup group, float rate);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();
}
