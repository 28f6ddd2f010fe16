using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Conv2dOp
{
    /// <summary>The kernels of <c>kernels/nn/conv2d.cu</c>, which count pixels, taps and tiles in 32 bits.</summary>
    internal sealed unsafe class Cuda : Kernels
    {
        private const string File = "nn/conv2d";
        private const int Threads = 256;

        internal const int Tile = 64;

        private static readonly CudaKernel ForwardKernel = new(File, "conv2d_forward"), ForwardTf32 = new(File, "conv2d_forward_tf32");
        private static readonly CudaKernel GradX = new(File, "conv2d_grad_x"), GradXTf32 = new(File, "conv2d_grad_x_tf32");
        private static readonly CudaKernel GradW = new(File, "conv2d_grad_w"), GradWTf32 = new(File, "conv2d_grad_w_tf32");
        private static readonly CudaKernel Fold = new(File, "conv2d_fold");

        internal override void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, Geometry g, Precision precision)
        {
            long blocks = Tiles(Pixels(g)) * Tiles(g.Filters);
            if (blocks == 0) return;
            if (bias is null && TryVendor(CudnnConvolutions.Pass.Forward, x, weight, y, g, precision)) return;
            if (x.Type == DType.BFloat16)
            {
                Bf16.Forward(y, x, weight, bias, g);
                return;
            }
            var sizes = new Sizes(g);
            (precision == Precision.Tf32 ? ForwardTf32 : ForwardKernel).Launch(y.Device, new(Checked(blocks, g), Threads), y, x, weight, bias, KernelArgument.Struct(&sizes), g.Images);
        }

        internal override void BackwardInput(Tensor gradX, Tensor gradY, Tensor weight, Geometry g, Precision precision)
        {
            if (gradX.Count == 0) return;
            if (TryVendor(CudnnConvolutions.Pass.BackwardInput, gradX, weight, gradY, g, precision)) return;
            Checked((long)g.Images * g.Height * g.Width, g);
            Pixels(g);
            // Pixels of one remainder modulo the stride, at most; and how many remainders occur.
            long largest = (long)g.Images * ((g.Height - 1) / g.Stride + 1) * ((g.Width - 1) / g.Stride + 1);
            long phases = (long)Math.Min(g.Stride, g.Height) * Math.Min(g.Stride, g.Width);
            if (gradY.Type == DType.BFloat16)
            {
                Bf16.BackwardInput(gradX, gradY, weight, g, phases, largest);
                return;
            }
            int pixelTiles = Checked(Tiles(largest), g);
            var sizes = new Sizes(g);
            (precision == Precision.Tf32 ? GradXTf32 : GradX).Launch(gradX.Device, new(Checked(phases * pixelTiles * Tiles(g.Channels), g), Threads), gradX, gradY, weight,
                KernelArgument.Struct(&sizes), g.Images, pixelTiles);
        }

        internal override void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Geometry g, Precision precision)
        {
            if (TryVendor(CudnnConvolutions.Pass.BackwardWeight, x, gradWeight, gradY, g, precision)) return;
            Device device = gradWeight.Device;
            int pixels = Pixels(g);
            long tiles = Tiles(g.Filters) * Tiles((long)g.KernelHeight * g.KernelWidth * g.Channels);
            (int stripes, int pixelsPerStripe) = Stripes(pixels, tiles, gradWeight.Count);
            using Tensor? partial = stripes == 1 ? null : Tensor.Empty(new(stripes, checked((int)gradWeight.Count)), device);
            if (gradY.Type == DType.BFloat16) Bf16.BackwardWeight(partial ?? gradWeight, gradY, x, g, stripes * tiles, pixelsPerStripe);
            else
            {
                var sizes = new Sizes(g);
                (precision == Precision.Tf32 ? GradWTf32 : GradW).Launch(device, new(Checked(stripes * tiles, g), Threads), partial ?? gradWeight, gradY, x,
                    KernelArgument.Struct(&sizes), g.Images, pixelsPerStripe);
            }
            if (partial is not null)
                Fold.Launch(device, LaunchShape.GridStride(gradWeight.Count, Threads), gradWeight, partial, stripes, gradWeight.Count);
        }

        /// <summary>By cuDNN, where the device uses it, the three are of one type, and it has an algorithm.</summary>
        private static bool TryVendor(CudnnConvolutions.Pass pass, Tensor x, Tensor weight, Tensor y, Geometry g, Precision precision)
        {
            if (((CudaDevice)y.Device).Convolutions is not { } convolutions || x.Type != y.Type || x.Type != weight.Type || x.Count == 0 || y.Count == 0) return false;
            bool done = convolutions.TryRun(new(pass, x.Type, precision == Precision.Tf32, g.Images, g.Channels, g.Height, g.Width, g.Filters, g.KernelHeight, g.KernelWidth, g.Stride, g.Padding,
                g.OutHeight, g.OutWidth), x.Pointer, weight.Pointer, y.Pointer);
            GC.KeepAlive(x);
            GC.KeepAlive(weight);
            GC.KeepAlive(y);
            return done;
        }

        internal override void BackwardBias(Tensor gradBias, Tensor gradY, Geometry g) =>
            ColumnSums.RunCuda(gradBias, gradY, Pixels(g), g.Filters);

        /// <summary>
        /// Into how many stripes the pixels are cut: at least 128 each, about 512 blocks in all, which fill a GPU, and at
        /// most 64 MiB of partial results. Depends on the shape alone, and with it the order of sums.
        /// </summary>
        private static (int Stripes, int PixelsPerStripe) Stripes(int pixels, long tiles, long weights)
        {
            const int LeastPixels = 128, Blocks = 512, PartialFloats = 16 << 20;
            long most = Math.Max(1, Math.Min(Math.Min(Blocks / tiles, pixels / LeastPixels), PartialFloats / weights));
            int perStripe = (int)Math.Max(1, (pixels + most - 1) / most);
            return (Math.Max(1, (int)((pixels + (long)perStripe - 1) / perStripe)), perStripe);
        }

        internal static long Tiles(long lines) => (lines + Tile - 1) / Tile;

        /// <summary>Pixels of y.</summary>
        internal static int Pixels(Geometry g) => Checked((long)g.Images * g.OutHeight * g.OutWidth, g);

        /// <summary>A count, which the kernels hold in 32 bits; a tile's worth of room keeps their sums from overflowing.</summary>
        internal static int Checked(long count, Geometry g) => count <= int.MaxValue - Tile ? (int)count
            : throw new ArgumentException($"conv2d: {g.Images} images of {g.Height}×{g.Width} are more pixels than one launch can count. Split the batch.");
    }

    /// <summary>ConvSizes of <c>kernels/common/conv_geometry.cuh</c>.</summary>
    private readonly struct Sizes(Geometry g)
    {
        public readonly int Height = g.Height, Width = g.Width, Channels = g.Channels, Filters = g.Filters, KernelHeight = g.KernelHeight,
            KernelWidth = g.KernelWidth, Stride = g.Stride, Padding = g.Padding, OutHeight = g.OutHeight, OutWidth = g.OutWidth;
    }
}
