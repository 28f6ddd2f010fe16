using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class NtXentOp
{
    /// <summary>The kernels of <c>kernels/contrast/nt_xent.cu</c>.</summary>
    internal sealed class Cuda : ContrastKernels
    {
        private const string File = "contrast/nt_xent";
        private const int Tile = 64, Threads = 256, RowsPerBlock = Threads / 32;

        private static readonly CudaKernel Normalise = new(File, "nt_xent_normalise");
        private static readonly CudaKernel RowSums = new(File, "nt_xent_row_sums");
        private static readonly CudaKernel Loss = new(File, "nt_xent_loss");
        private static readonly CudaKernel GradZ = new(File, "nt_xent_grad_z");
        private static readonly CudaKernel GradH = new(File, "nt_xent_grad_h");

        /// <summary>Where forward leaves z and four numbers per row, and both passes their partial results.</summary>
        private readonly struct Layout
        {
            internal readonly long Normalized, InverseNorm, Shift, InverseSum, NegativeShare, SavedBytes;
            internal readonly long PartialMaximum, PartialSum, Positive, ForwardBytes;
            internal readonly long PartialGradZ, BackwardBytes;

            internal Layout(in LossCall call)
            {
                long rows = call.Rows;
                long saved = (long)call.Saved, forward = (long)call.Workspace, backward = forward;
                Normalized = Take(ref saved, rows * call.Dim);
                InverseNorm = Take(ref saved, rows);
                Shift = Take(ref saved, rows);
                InverseSum = Take(ref saved, rows);
                NegativeShare = Take(ref saved, rows);
                SavedBytes = saved - (long)call.Saved;
                int stripes = Stripes(call.Rows, floatsPerStripe: rows).Stripes;
                PartialMaximum = Take(ref forward, stripes * rows);
                PartialSum = Take(ref forward, stripes * rows);
                Positive = Take(ref forward, rows);
                ForwardBytes = forward - (long)call.Workspace;
                PartialGradZ = Take(ref backward, Stripes(call.Rows, rows * call.Dim).Stripes * rows * call.Dim);
                BackwardBytes = backward - (long)call.Workspace;
            }

            private static long Take(ref long at, long floats)
            {
                long here = at;
                at += (4 * floats + 255) / 256 * 256;
                return here;
            }
        }

        internal override long SavedBytes(Device device, in LossCall call) => new Layout(call).SavedBytes;

        internal override long WorkspaceBytes(Device device, in LossCall call, bool backward)
        {
            var layout = new Layout(call);
            return backward ? layout.BackwardBytes : layout.ForwardBytes;
        }

        internal override void Forward(Device device, in LossCall call)
        {
            CheckSupported(device, call);
            int rows = call.Rows, dim = call.Dim;
            var at = new Layout(call);
            (int tiles, int stripes, int tilesPerStripe) = Stripes(rows, floatsPerStripe: rows);
            float inverseTemperature = 1 / call.Temperature;
            bool interleaved = call.Layout == PairLayout.Interleaved, online = !ContrastOp.IsFixedShift(call.Temperature, call.Normalize);

            Normalise.Launch(device, WarpPerRow(rows), at.Normalized, at.InverseNorm, (long)call.Embeddings.Pointer, rows, dim);
            RowSums.Launch(device, new(tiles, Threads, GridY: stripes), at.PartialMaximum, at.PartialSum, at.Positive, at.Normalized,
                inverseTemperature, rows, dim, interleaved, online, tilesPerStripe);
            Loss.Launch(device, new(1, Threads), (long)call.Loss, at.Shift, at.InverseSum, at.NegativeShare, at.PartialMaximum, at.PartialSum,
                at.Positive, inverseTemperature, rows, online, stripes);
        }

        internal override void Backward(Device device, in LossCall call)
        {
            CheckSupported(device, call);
            if (call.GradEmbeddings.Pointer == 0) return;
            int rows = call.Rows, dim = call.Dim;
            var at = new Layout(call);
            (int tiles, int stripes, int tilesPerStripe) = Stripes(rows, floatsPerStripe: (long)rows * dim);
            float inverseTemperature = 1 / call.Temperature;
            bool interleaved = call.Layout == PairLayout.Interleaved, online = !ContrastOp.IsFixedShift(call.Temperature, call.Normalize);

            GradZ.Launch(device, new(tiles, Threads, GridY: stripes), at.PartialGradZ, at.Normalized, at.Shift, at.InverseSum, at.NegativeShare,
                inverseTemperature, rows, dim, interleaved, online, tilesPerStripe);
            GradH.Launch(device, WarpPerRow(rows), (long)call.GradEmbeddings.Pointer, at.PartialGradZ, at.Normalized, at.InverseNorm,
                (long)call.GradLoss, inverseTemperature, rows, dim, stripes);
        }

        private static void CheckSupported(Device device, in LossCall call)
        {
            if (call is not { Reduction: Reduction.Mean, Precision: Precision.Float32, Normalize: true, Labels: 0, TemperatureAt: 0, Stream: 0 }
                || (call.Embeddings.Pointer != 0 && (call.Embeddings.RowStride != call.Dim || call.Embeddings.Type != DType.Float32))
                || (call.GradEmbeddings.Pointer != 0 && call.GradEmbeddings.RowStride != call.Dim))
                throw new NotSupportedException($"nt-xent on {device}: only the mean over normalised, dense rows of float32 without labels, "
                    + "at a temperature that is a number and on the device's own stream. Use the CPU for the other choices.");
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
