using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LayerNormOp
{
    internal sealed class Cuda : Kernels
    {
        private const string File = "nn/layer_norm";

        private static readonly CudaKernel ForwardKernel = new(File, "layer_norm_forward");
        private static readonly CudaKernel GradX = new(File, "layer_norm_grad_x");
        private static readonly CudaKernel GradAffine = new(File, "layer_norm_grad_affine");
        private static readonly CudaKernel FoldAffine = new(File, "layer_norm_fold_affine");

        internal override void Forward(Tensor y, Tensor statistics, Tensor x, Tensor? gamma, Tensor? beta, float epsilon) =>
            ForwardKernel.Launch(y.Device, LaunchShape.WarpPerItem(x.Shape[0]), y, statistics, x, gamma, beta, epsilon, x.Shape[0], x.Shape[1]);

        internal override void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor gradY, Tensor x, Tensor? gamma, Tensor statistics)
        {
            Device device = x.Device;
            int rows = x.Shape[0], dim = x.Shape[1];
            if (gradX is not null) GradX.Launch(device, LaunchShape.WarpPerItem(rows), gradX, gradY, x, gamma, statistics, rows, dim);
            if (gradGamma is null && gradBeta is null) return;
            int blocks = (dim + 31) / 32, rowsPerStripe = RowsPerStripe(rows, blocks), stripes = (rows + rowsPerStripe - 1) / rowsPerStripe;
            using Tensor partial = Tensor.Empty(new(stripes, 2, dim), device);
            if (stripes > 0)
                GradAffine.Launch(device, new(blocks, 256, GridY: stripes), partial, gradY, x, statistics, rows, dim, rowsPerStripe);
            FoldAffine.Launch(device, LaunchShape.GridStride(dim, block: 256), gradGamma, gradBeta, partial, dim, stripes);
        }

        /// <summary>
        /// About 512 blocks in all, which fill a GPU, and at least 64 rows for each. Depends on the shape alone, so that the
        /// order of sums is the same on every device.
        /// </summary>
        private static int RowsPerStripe(int rows, int blocks)
        {
            int most = Math.Clamp(512 / blocks, 1, Math.Max(1, rows / 64));
            return Math.Max(1, (rows + most - 1) / most);
        }
    }
}
