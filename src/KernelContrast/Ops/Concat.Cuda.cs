using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ConcatOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("nn/copy_blocks", "copy_blocks");

        internal override void CopyBlocks(Tensor destination, long destinationStart, long destinationStep,
            Tensor source, long sourceStart, long sourceStep, long block, long count) =>
            Kernel.Launch(destination.Device, LaunchShape.GridStride(block * count, block: 256),
                destination, destinationStart, destinationStep, source, sourceStart, sourceStep, block, count);
    }
}
