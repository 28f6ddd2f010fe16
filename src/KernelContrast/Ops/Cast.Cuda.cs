using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CastOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ToBFloat16 = new("nn/cast", "cast_to_bf16");
        private static readonly CudaKernel ToFloat = new("nn/cast", "cast_to_float");

        internal override void Convert(Tensor y, Tensor x) => (y.Type == DType.BFloat16 ? ToBFloat16 : ToFloat)
            .Launch(y.Device, LaunchShape.GridStride((y.Count + 1) / 2, block: 256), y, x, y.Count);
    }
}
