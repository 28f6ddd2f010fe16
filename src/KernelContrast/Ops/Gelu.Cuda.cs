using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class GeluOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/gelu", "gelu_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/gelu", "gelu_backward");

        internal override void Forward(Tensor y, Tensor x) =>
            ForwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x) =>
            BackwardKernel.Launch(x.Device, LaunchShape.GridStride(x.Count, block: 256), gradX, gradY, x, x.Count);
    }
}
