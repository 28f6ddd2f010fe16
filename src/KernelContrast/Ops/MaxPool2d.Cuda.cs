using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class MaxPool2dOp
{
    internal sealed unsafe class Cuda : Kernels
    {
        private static readonly TypedKernel ForwardKernel = new("nn/max_pool2d", "max_pool2d_forward");
        private static readonly TypedKernel BackwardKernel = new("nn/max_pool2d", "max_pool2d_backward");

        internal override void Forward(Tensor y, Tensor x, PoolWindow window) =>
            ForwardKernel.For(x.Type).Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, KernelArgument.Struct(&window), y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x, Tensor y, PoolWindow window) =>
            BackwardKernel.For(x.Type).Launch(x.Device, LaunchShape.GridStride(x.Count, block: 256), gradX, gradY, x, y,
                KernelArgument.Struct(&window), x.Count);
    }
}
