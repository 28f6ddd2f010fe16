using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class DropoutOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("nn/dropout", "dropout");

        internal override void Mask(Tensor y, Tensor x, float p, ulong seed, ulong stream) =>
            Kernel.Launch(y.Device, LaunchShape.GridStride((x.Count + 3) / 4, block: 256), y, x, p, 1 / (1 - p), seed, stream, x.Count);
    }
}
