using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class NtXentOp
{
    /// <summary>The kernels of <c>kernels/contrast/nt_xent.cu</c>.</summary>
    internal sealed class Cuda : Kernels
    {
        private const string File = "contrast/nt_xent";
        private const int Tile = 64, Threads = 256, RowsPerBlock = Threads / 32;

        private static readonly CudaKernel Normalise = new(File, "nt_xent_normalise");
        private static readonly CudaKernel RowSums = new(File, "nt_xent_row_sums");
        private static readonly CudaKernel Loss = new(File, "nt_xent_loss");
        private static readonly CudaKernel GradZ = new(File, "nt_xent_grad_z");
        private static readonly CudaKernel GradH = new(File, "nt_xent_grad_h");

        internal override void Forward(Tensor loss, Tensor normalized, Tensor inverseNorm, Tensor shift, Tensor inverseSum,
            Tensor negativeShare, Tensor embeddings, float temperature, PairLayout layout)
        {
            Device device = embeddings.Device;
            int rows = embeddings.Shape[0], dim = embeddings.Shape[1];
            (int tiles, int stripes, int tilesPerStripe) = Stripes(rows, floatsPerStripe: rows);
            using Tensor partialMaximum = Tensor.Empty(new(stripes, rows), device);
            using Tensor partialSum = Tensor.Empty(new(stripes, rows), device);
            using Tensor positive = Tensor.Empty(new(rows), device);
            float inverseTemperature = 1 / temperature;

            Normalise.Launch(device, WarpPerRow(rows), normalized, inverseNorm, embeddings, rows, dim);
            RowSums.Launch(device, new(tiles, Threads, GridY: stripes), partialMaximum, partialSum, positive, normalized,
                inverseTemperature, rows, dim, layout == PairLayout.Interleaved, temperature < FixedShiftTemperature, tilesPerStripe);
            Loss.Launch(device, new(1, Threads), loss, shift, inverseSum, negativeShare, partialMaximum, partialSum, positive,
                inverseTemperature, rows, temperature < FixedShiftTemperature, stripes);
        }

        internal override void Backward(Tensor gradEmbeddings, Tensor gradLoss, Tensor normalized, Tensor inverseNorm,
            Tensor shift, Tensor inverseSum, Tensor negativeShare, float temperature, PairLayout layout)
        {
            Device device = gradEmbeddings.Device;
            int rows = gradEmbeddings.Shape[0], dim = gradEmbeddings.Shape[1];
            (int tiles, int stripes, int tilesPerStripe) = Stripes(rows, floatsPerStripe: (long)rows * dim);
            using Tensor partialGradZ = Tensor.Empty(new(stripes, rows, dim), device);
            float inverseTemperature = 1 / temperature;

            GradZ.Launch(device, new(tiles, Threads, GridY: stripes), partialGradZ, normalized, shift, inverseSum, negativeShare,
                inverseTemperature, rows, dim, layout == PairLayout.Interleaved, temperature < FixedShiftTemperature, tilesPerStripe);
            GradH.Launch(device, WarpPerRow(rows), gradEmbeddings, partialGradZ, normalized, inverseNorm, gradLoss,
                inverseTemperature, rows, dim, stripes);
        }

        private static LaunchShape WarpPerRow(int rows) => new((rows + RowsPerBlock - 1) / RowsPerBlock, Threads);

        /// <summary>
        /// Into how many stripes the columns are cut: about 256 blocks in all, which fill a GPU, and at most 64 MiB of
        /// partial results. Depends on the shape alone, so that the order of sums is the same on every device.
        /// </summary>
        private static (int Tiles, int Stripes, int TilesPerStripe) Stripes(int rows, long floatsPerStripe)
        {
            int tiles = (rows + Tile - 1) / Tile;
            long most = Math.Min(256 / tiles, (16L << 20) / floatsPerStripe);
            int tilesPerStripe = (int)((tiles + Math.Clamp(most, 1, tiles) - 1) / Math.Clamp(most, 1, tiles));
            return (tiles, (tiles + tilesPerStripe - 1) / tilesPerStripe, tilesPerStripe);
        }
    }
}
