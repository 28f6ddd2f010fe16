using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class MaxPool2dOp
{
    internal sealed unsafe class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/max_pool2d", "max_pool2d_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/max_pool2d", "max_pool2d_backward");

        internal override void Forward(Tensor y, Tensor x, PoolWindow window) =>
            ForwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, KernelArgument.Struct(&window), y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x, Tensor y, PoolWindow window) =>
            BackwardKernel.Launch(x.Device, LaunchShape.GridStride(x.Count, block: 256), gradX, gradY, x, y,
                KernelArgument.Struct(&window), x.Count);
    }
}
