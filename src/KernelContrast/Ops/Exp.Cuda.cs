using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ExpOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("nn/exp", "exp_forward");

        internal override void Forward(Tensor y, Tensor x) =>
            Kernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, y.Count);
    }
}
