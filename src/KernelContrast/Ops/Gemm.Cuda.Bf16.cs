using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Gemm
{
    private const int LargeTile = 128;

    private static readonly CudaKernel Bf16Kernel = new("nn/gemm_bf16", "gemm_bf16");
    private static readonly CudaKernel Bf16LargeKernel = new("nn/gemm_bf16", "gemm_bf16_large");

    /// <summary>
    /// <see cref="RunCuda"/> with bfloat16 factors on the tensor cores, by <c>kernels/nn/gemm_bf16.cu</c>; c is float32 or
    /// bfloat16.
    /// </summary>
    private static void RunCudaBf16(Tensor c, Tensor a, bool transposeA, Tensor b, bool transposeB, int depth, Tensor? bias, bool relu)
    {
        int rows = c.Shape[0], columns = c.Shape[1];
        bool whole = a.Shape[1] % 8 == 0 && b.Shape[1] % 8 == 0, toBf16 = c.Type == DType.BFloat16;
        if (whole && UsesLargeTiles(rows, columns))
        {
            int large = checked(CeilDivide(rows, LargeTile) * CeilDivide(columns, LargeTile));
            Bf16LargeKernel.Launch(c.Device, new(large, 128), c, a, b, bias, rows, columns, depth, transposeA, transposeB, relu, toBf16);
            return;
        }
        int tiles = checked(CeilDivide(rows, CudaTile) * CeilDivide(columns, CudaTile));
        Bf16Kernel.Launch(c.Device, new(tiles, 128), c, a, b, bias, rows, columns, depth, transposeA, transposeB, relu, toBf16, whole);
    }

    /// <summary>
    /// Tiles of 128 × 128 read each factor half as often as tiles of 64 × 64, but must still fill the GPU: from 64 such
    /// tiles on, and where neither side is mostly empty. Not tuned on hardware.
    /// </summary>
    private static bool UsesLargeTiles(int rows, int columns) =>
        rows >= LargeTile && columns >= LargeTile && (long)CeilDivide(rows, LargeTile) * CeilDivide(columns, LargeTile) >= 64;
}
