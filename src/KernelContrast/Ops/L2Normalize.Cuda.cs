using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class L2NormalizeOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/l2_normalize", "l2_normalize_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/l2_normalize", "l2_normalize_backward");

        internal override void Forward(Tensor z, Tensor scales, Tensor x) =>
            ForwardKernel.Launch(z.Device, LaunchShape.WarpPerItem(x.Shape[0]), z, scales, x, x.Shape[0], x.Shape[1]);

        internal override void Backward(Tensor gradX, Tensor gradZ, Tensor z, Tensor scales) =>
            BackwardKernel.Launch(z.Device, LaunchShape.WarpPerItem(z.Shape[0]), gradX, gradZ, z, scales, z.Shape[0], z.Shape[1]);
    }
}
