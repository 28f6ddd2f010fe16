using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Conv2dOp
{
    /// <summary>The kernels of <c>kernels/nn/conv2d_bf16.cu</c>: factors in bfloat16, results float32 or bfloat16.</summary>
    private static unsafe class Bf16
    {
        private const string File = "nn/conv2d_bf16";
        private const int Threads = 128, LargeTile = 2 * Cuda.Tile;

        private static readonly CudaKernel ForwardKernel = new(File, "conv2d_forward_bf16");
        private static readonly CudaKernel ForwardLarge = new(File, "conv2d_forward_bf16_large");
        private static readonly CudaKernel GradX = new(File, "conv2d_grad_x_bf16");
        private static readonly CudaKernel GradXLarge = new(File, "conv2d_grad_x_bf16_large");
        private static readonly CudaKernel GradW = new(File, "conv2d_grad_w_bf16");

        internal static void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, Geometry g)
        {
            int pixels = Cuda.Pixels(g);
            bool whole = g.Channels % 8 == 0, toBf16 = y.Type == DType.BFloat16;
            long filterTiles = Cuda.Tiles(g.Filters);
            var sizes = new Sizes(g);
            if (pixels == 0) return;
            if (whole && UsesLargeTiles(pixels, filterTiles))
                ForwardLarge.Launch(y.Device, new(Cuda.Checked(Halved(pixels) * filterTiles, g), Threads), y, x, weight, bias,
                    KernelArgument.Struct(&sizes), g.Images, toBf16);
            else
                ForwardKernel.Launch(y.Device, new(Cuda.Checked(Cuda.Tiles(pixels) * filterTiles, g), Threads), y, x, weight, bias,
                    KernelArgument.Struct(&sizes), g.Images, toBf16, whole);
        }

        /// <param name="gradX">Not empty.</param>
        /// <param name="gradY">Upstream.</param>
        /// <param name="weight">As forward.</param>
        /// <param name="g">The sizes.</param>
        /// <param name="phases">How many remainders modulo the stride occur.</param>
        /// <param name="largest">Pixels of one of them, at most.</param>
        internal static void BackwardInput(Tensor gradX, Tensor gradY, Tensor weight, Geometry g, long phases, long largest)
        {
            bool whole = g.Channels % 8 == 0 && g.Filters % 8 == 0, toBf16 = gradX.Type == DType.BFloat16;
            long channelTiles = Cuda.Tiles(g.Channels);
            var sizes = new Sizes(g);
            if (whole && UsesLargeTiles(largest, channelTiles * phases))
            {
                int tiles = Cuda.Checked(Halved(largest), g);
                GradXLarge.Launch(gradX.Device, new(Cuda.Checked(phases * tiles * channelTiles, g), Threads), gradX, gradY, weight,
                    KernelArgument.Struct(&sizes), g.Images, tiles, toBf16);
            }
            else
            {
                int tiles = Cuda.Checked(Cuda.Tiles(largest), g);
                GradX.Launch(gradX.Device, new(Cuda.Checked(phases * tiles * channelTiles, g), Threads), gradX, gradY, weight,
                    KernelArgument.Struct(&sizes), g.Images, tiles, toBf16, whole);
            }
        }

        internal static void BackwardWeight(Tensor partial, Tensor gradY, Tensor x, Geometry g, long blocks, int pixelsPerStripe)
        {
            bool whole = g.Channels % 8 == 0 && g.Filters % 8 == 0;
            var sizes = new Sizes(g);
            GradW.Launch(partial.Device, new(Cuda.Checked(blocks, g), Threads), partial, gradY, x, KernelArgument.Struct(&sizes),
                g.Images, pixelsPerStripe, whole);
        }

        /// <summary>
        /// Tiles of 128 pixels use each weight twice as often as tiles of 64, but must still fill the GPU: from 128 of them
        /// on. Not tuned on hardware.
        /// </summary>
        private static bool UsesLargeTiles(long pixels, long others) => Halved(pixels) * others >= 128;

        /// <summary>Large tiles of so many pixels.</summary>
        private static long Halved(long pixels) => (pixels + LargeTile - 1) / LargeTile;
    }
}
