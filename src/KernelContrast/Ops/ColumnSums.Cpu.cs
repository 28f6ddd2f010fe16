using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>Sums over the rows of a matrix: the gradient of a bias.</summary>
internal static unsafe partial class ColumnSums
{
    // A run of rows is summed in float, the runs in double: the error stays that of a short sum.
    private const int RunRows = 128;

    /// <summary>sums[j] = Σ_i matrix[i, j]; bit-identical for any number of threads.</summary>
    internal static void Run(CpuDevice cpu, float* sums, float* matrix, long rows, int columns)
    {
        if (columns == 0) return;
        int runs = checked((int)((rows + RunRows - 1) / RunRows));
        long bytes = 4L * runs * columns;
        nint partial = cpu.Pool.Rent(bytes);
        nint from = (nint)matrix;
        cpu.Workers.ForRanges(runs, Math.Max(1, CpuGrain.Elementwise / ((long)RunRows * columns)), (first, end) =>
        {
            for (long run = first; run < end; run++)
            {
                var sum = new Span<float>((float*)partial + run * columns, columns);
                sum.Clear();
                for (long row = run * RunRows; row < Math.Min(rows, (run + 1) * RunRows); row++)
                    TensorPrimitives.Add(sum, new ReadOnlySpan<float>((float*)from + row * columns, columns), sum);
            }
        });
        for (int column = 0; column < columns; column++)
        {
            double sum = 0;
            for (int run = 0; run < runs; run++) sum += ((float*)partial)[(long)run * columns + column];
            sums[column] = (float)sum;
        }
        cpu.Pool.Return(partial, bytes);
    }
}
