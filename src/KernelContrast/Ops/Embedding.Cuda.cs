using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class EmbeddingOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel ForwardKernel = new("nn/embedding", "embedding_forward");
        private static readonly CudaKernel BackwardKernel = new("nn/embedding", "embedding_backward");

        internal override (int Position, int Index) FindBadIndex(Tensor indices, int count) => IndexCheck.FindOutside(indices, count);

        internal override void Forward(Tensor y, Tensor table, Tensor indices) =>
            ForwardKernel.Launch(y.Device, LaunchShape.WarpPerItem(y.Shape[0]), y, table, indices, y.Shape[0], y.Shape[1]);

        internal override void Backward(Tensor gradTable, Tensor gradY, Tensor indices) =>
            BackwardKernel.Launch(gradY.Device, LaunchShape.WarpPerItem(gradTable.Shape[0]), gradTable, gradY, indices,
                gradTable.Shape[0], gradY.Shape[0], gradY.Shape[1]);
    }
}
