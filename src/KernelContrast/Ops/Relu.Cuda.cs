using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ReluOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/relu", "relu_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/relu", "relu_backward");

        internal override void Forward(Tensor y, Tensor x) =>
            ForwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor y) =>
            BackwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), gradX, gradY, y, y.Count);
    }
}
