using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class TransposeOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        // 16 columns are one cache line of x; a tile of 32 rows is read and written within L1
        private const int TileRows = 32, TileColumns = 16;

        internal override void Transpose(Tensor y, Tensor x, int count, int rows, int columns)
        {
            if (x.Count == 0) return;
            nint to = y.Pointer, from = x.Pointer;
            long bands = (columns + TileColumns - 1) / TileColumns, size = (long)rows * columns;
            ((CpuDevice)y.Device).Workers.ForRanges(count * bands, CpuGrain.Elementwise / Math.Max(1, (long)rows * TileColumns), (start, end) =>
            {
                for (long band = start; band < end; band++)
                {
                    long matrix = band / bands * size;
                    Band((float*)to + matrix, (float*)from + matrix, rows, columns, (int)(band % bands) * TileColumns);
                }
            });
        }

        private static void Band(float* y, float* x, int rows, int columns, int column)
        {
            int endColumn = Math.Min(columns, column + TileColumns);
            for (int row = 0; row < rows; row += TileRows)
            {
                int endRow = Math.Min(rows, row + TileRows);
                for (int j = column; j < endColumn; j++)
                {
                    float* line = y + (long)j * rows;
                    for (int i = row; i < endRow; i++) line[i] = x[(long)i * columns + j];
                }
            }
        }
    }
}
