using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class GlobalAvgPoolOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly TypedKernel ForwardKernel = new("nn/global_avg_pool", "global_avg_pool_forward");
        private static readonly TypedKernel BackwardKernel = new("nn/global_avg_pool", "global_avg_pool_backward");

        internal override void Forward(Tensor y, Tensor x)
        {
            if (y.Count == 0) return;
            int channels = x.Shape[1], pixels = x.Shape[2] * x.Shape[3], chunks = (channels + 31) / 32;
            ForwardKernel.For(x.Type).Launch(y.Device, new(checked(x.Shape[0] * chunks), 256), y, x, pixels, channels, chunks);
        }

        internal override void Backward(Tensor gradX, Tensor gradY) =>
            BackwardKernel.For(gradX.Type).Launch(gradX.Device, LaunchShape.GridStride(gradX.Count, block: 256), gradX, gradY,
                gradX.Shape[2] * gradX.Shape[3], gradX.Shape[1], gradX.Count);
    }
}
