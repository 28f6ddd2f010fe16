using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class MatMulOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Multiply(Tensor c, Tensor a, Tensor b, bool transposeA, bool transposeB, Precision precision) =>
            Gemm.Run((CpuDevice)c.Device, c.Floats, a.Floats, transposeA, b.Floats, transposeB,
                c.Shape[0], c.Shape[1], a.Shape[transposeA ? 0 : 1]);
    }
}
