using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Gemm
{
    private const int CudaTile = 64;

    private static readonly CudaKernel Kernel = new("nn/gemm", "gemm"), Tf32Kernel = new("nn/gemm", "gemm_tf32");

    /// <summary>
    /// c[m,n] = op(a)[m,k] · op(b)[k,n] (+ bias[n] to every row), and its negative numbers 0 with <paramref name="relu"/>; dense
    /// row-major, overwriting c. Sizes are c's and <paramref name="depth"/>. By cuBLASLt where the device uses it, else by
    /// <c>kernels/nn/gemm.cu</c>, and with factors in bfloat16 by <c>kernels/nn/gemm_bf16.cu</c>, on the tensor cores.
    /// The precision says whether float32 factors are rounded to TF32.
    /// </summary>
    internal static void RunCuda(Tensor c, Tensor a, bool transposeA, Tensor b, bool transposeB, int depth, Precision precision, Tensor? bias = null, bool relu = false)
    {
        int rows = c.Shape[0], columns = c.Shape[1];
        if (rows == 0 || columns == 0) return;
        if (depth > 0 && ((CudaDevice)c.Device).Products is { } products && TryVendor(products, c, a, transposeA, b, transposeB, depth, precision == Precision.Tf32, bias, relu)) return;
        if (a.Type == DType.BFloat16)
        {
            RunCudaBf16(c, a, transposeA, b, transposeB, depth, bias, relu);
            return;
        }
        int tiles = checked(CeilDivide(rows, CudaTile) * CeilDivide(columns, CudaTile));
        (precision == Precision.Tf32 ? Tf32Kernel : Kernel).Launch(c.Device, new(tiles, 256), c, a, b, bias, rows, columns, depth, transposeA, transposeB, relu);
    }

    /// <summary>A bias is added in c's type: it is rounded where c is bfloat16.</summary>
    private static bool TryVendor(CublasLtProducts products, Tensor c, Tensor a, bool transposeA, Tensor b, bool transposeB, int depth, bool tf32, Tensor? bias, bool relu)
    {
        using Tensor? rounded = bias is not null && bias.Type != c.Type ? CastOp.Converted(bias, c.Type) : null;
        nint added = (rounded ?? bias)?.Pointer ?? 0;
        var product = new CublasLtProducts.Product(c.Shape[0], c.Shape[1], depth, transposeA, transposeB, a.Type, c.Type, tf32 && a.Type == DType.Float32, bias is not null, relu,
            CublasLtProducts.Product.AlignmentOf(a.Pointer, b.Pointer, c.Pointer, added));
        bool done = products.TryMultiply(product, c.Pointer, a.Pointer, b.Pointer, added);
        GC.KeepAlive(a);
        GC.KeepAlive(b);
        GC.KeepAlive(c);
        GC.KeepAlive(bias);
        return done;
    }
}
