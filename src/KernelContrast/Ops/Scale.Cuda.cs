using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ScaleOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("nn/scale", "scale");

        internal override void Scale(Tensor y, Tensor x, float factor) =>
            Kernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, factor, y.Count);
    }
}
