using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ColumnSums
{
    private const int CudaThreads = 256;

    private static readonly TypedKernel StripeSums = new("nn/column_sums", "column_sums_stripes");
    private static readonly CudaKernel Fold = new("nn/column_sums", "column_sums_fold");

    /// <summary>sums[j] = Σ_i matrix[i, j] by <c>kernels/nn/column_sums.cu</c>; matrix in float32 or bfloat16, sums in float32.</summary>
    internal static void RunCuda(Tensor sums, Tensor matrix, long rows, int columns)
    {
        if (columns == 0) return;
        (int stripes, long rowsPerStripe) = Stripes(rows, columns);
        using Tensor partial = Tensor.Empty(new(stripes, columns), matrix.Device);
        StripeSums.For(matrix.Type).Launch(matrix.Device, new(checked(stripes * Groups(columns)), CudaThreads), partial, matrix, rows, columns, rowsPerStripe);
        Fold.Launch(matrix.Device, new(Groups(columns), CudaThreads), sums, partial, stripes, columns);
    }

    /// <summary>Groups of 32 columns, which a block of <c>kernels/common/column_sums.cuh</c> takes.</summary>
    internal static int Groups(int columns) => (columns + 31) / 32;

    /// <summary>
    /// Into how many stripes the rows are cut: at least 256 rows each, so that the partial sums cost little, and about
    /// 1024 blocks in all, which fill a GPU. Depends on the shape alone, and with it the order of sums.
    /// </summary>
    internal static (int Stripes, long RowsPerStripe) Stripes(long rows, int columns)
    {
        const int LeastRows = 256, Blocks = 1024;
        long most = Math.Max(1, Math.Min(Blocks / Groups(columns), rows / LeastRows));
        long rowsPerStripe = Math.Max(1, (rows + most - 1) / most);
        return ((int)Math.Max(1, (rows + rowsPerStripe - 1) / rowsPerStripe), rowsPerStripe);
    }
}
