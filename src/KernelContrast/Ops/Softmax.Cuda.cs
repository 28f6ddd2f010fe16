using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SoftmaxOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/softmax", "softmax_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/softmax", "softmax_backward");

        internal override void Forward(Tensor y, Tensor x, float inverseTemperature) =>
            ForwardKernel.Launch(y.Device, LaunchShape.WarpPerItem(x.Shape[0]), y, x, inverseTemperature, x.Shape[0], x.Shape[1]);

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor y, float inverseTemperature) =>
            BackwardKernel.Launch(y.Device, LaunchShape.WarpPerItem(y.Shape[0]), gradX, gradY, y, inverseTemperature, y.Shape[0], y.Shape[1]);
    }
}
