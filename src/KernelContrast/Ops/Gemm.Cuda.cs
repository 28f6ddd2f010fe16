using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Gemm
{
    private const int CudaTile = 64;

    private static readonly CudaKernel Kernel = new("nn/gemm", "gemm");

    /// <summary>
    /// c[m,n] = op(a)[m,k] · op(b)[k,n] (+ bias[n] to every row) by <c>kernels/nn/gemm.cu</c>; dense row-major,
    /// overwriting c. Sizes are c's and <paramref name="depth"/>. Factors in bfloat16 are multiplied on the tensor cores.
    /// </summary>
    internal static void RunCuda(Tensor c, Tensor a, bool transposeA, Tensor b, bool transposeB, int depth, Tensor? bias = null)
    {
        int rows = c.Shape[0], columns = c.Shape[1];
        if (rows == 0 || columns == 0) return;
        if (a.Type == DType.BFloat16)
        {
            RunCudaBf16(c, a, transposeA, b, transposeB, depth, bias, relu: false);
            return;
        }
        int tiles = checked(CeilDivide(rows, CudaTile) * CeilDivide(columns, CudaTile));
        Kernel.Launch(c.Device, new(tiles, 256), c, a, b, bias, rows, columns, depth, transposeA, transposeB);
    }
}
