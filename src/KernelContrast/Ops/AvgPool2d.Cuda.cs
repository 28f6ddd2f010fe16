using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AvgPool2dOp
{
    internal sealed unsafe class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/avg_pool2d", "avg_pool2d_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/avg_pool2d", "avg_pool2d_backward");

        internal override void Forward(Tensor y, Tensor x, PoolWindow window) =>
            ForwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, KernelArgument.Struct(&window), y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, PoolWindow window) =>
            BackwardKernel.Launch(gradX.Device, LaunchShape.GridStride(gradX.Count, block: 256), gradX, gradY,
                KernelArgument.Struct(&window), gradX.Count);
    }
}
