using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class TransposeOp
{
    internal sealed class Cuda : Kernels
    {
        private const int Tile = 32;

        private static readonly CudaKernel Kernel = new("nn/transpose", "transpose");

        internal override void Transpose(Tensor y, Tensor x, int count, int rows, int columns)
        {
            if (x.Count == 0) return;
            int rowTiles = (rows + Tile - 1) / Tile, columnTiles = (columns + Tile - 1) / Tile;
            Kernel.Launch(y.Device, new(checked(count * rowTiles * columnTiles), 256), y, x, rows, columns, rowTiles, columnTiles);
        }
    }
}
