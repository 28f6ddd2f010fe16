using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SgdStepOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("optim/sgd", "sgd_step");

        internal override void Step(Tensor parameter, Tensor? buffer, Tensor grad, float rate, float momentum, bool nesterov, float decay) =>
            Kernel.Launch(parameter.Device, LaunchShape.GridStride(parameter.Count, block: 256), parameter, buffer, grad,
                rate, momentum, decay, nesterov, parameter.Count);
    }
}
