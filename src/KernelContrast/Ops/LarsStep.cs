namespace KernelContrast;

/// <summary>
/// The two passes of a LARS step over one tensor. With u = grad + decay·p: the norms ‖p‖ and ‖u‖; then, in place,
/// m ← momentum·m + inner·u and p ← p − outer·m. The caller puts the trust ratio and the learning rate into inner or outer.
/// </summary>
internal static partial class LarsStepOp
{
    internal abstract class Kernels
    {
        /// <summary>‖p‖ and ‖grad + decay·p‖; the sums have one order for any number of threads.</summary>
        internal abstract (double Parameter, double Update) Norms(Tensor parameter, Tensor grad, float decay);

        internal abstract void Step(Tensor parameter, Tensor buffer, Tensor grad, float inner, float outer, float momentum, float decay);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();
}
