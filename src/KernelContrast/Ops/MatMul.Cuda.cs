namespace KernelContrast;

internal static partial class MatMulOp
{
    internal sealed class Cuda : Kernels
    {
        internal override void Multiply(Tensor c, Tensor a, Tensor b, bool transposeA, bool transposeB, Precision precision) =>
            Gemm.RunCuda(c, a, transposeA, b, transposeB, depth: a.Shape[transposeA ? 0 : 1], precision);
    }
}
