using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AdamWStepOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("optim/adamw", "adamw_step");

        internal override void Step(Tensor parameter, Tensor mean, Tensor square, Tensor grad, in Scalars scalars) =>
            Kernel.Launch(parameter.Device, LaunchShape.GridStride(parameter.Count, block: 256), parameter, mean, square, grad,
                scalars.Beta1, scalars.Beta2, scalars.Rate, scalars.SquareScale, scalars.Epsilon, scalars.Keep, parameter.Count);
    }
}
