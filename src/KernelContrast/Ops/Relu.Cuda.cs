using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ReluOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly TypedKernel ForwardKernel = new("nn/relu", "relu_forward");
        private static readonly TypedKernel BackwardKernel = new("nn/relu", "relu_backward");

        internal override void Forward(Tensor y, Tensor x) =>
            ForwardKernel.For(x.Type).Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor y) =>
            BackwardKernel.For(y.Type).Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), gradX, gradY, y, y.Count);
    }
}
