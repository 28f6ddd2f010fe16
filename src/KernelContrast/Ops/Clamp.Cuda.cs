using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ClampOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/clamp", "clamp_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/clamp", "clamp_backward");

        internal override void Forward(Tensor y, Tensor x, float low, float high) =>
            ForwardKernel.Launch(y.Device, LaunchShape.GridStride(y.Count, block: 256), y, x, low, high, y.Count);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x, float low, float high) =>
            BackwardKernel.Launch(x.Device, LaunchShape.GridStride(x.Count, block: 256), gradX, gradY, x, low, high, x.Count);
    }
}
