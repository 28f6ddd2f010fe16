using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ScaleOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Scale(Tensor y, Tensor x, float factor) =>
            SimdRanges.Elementwise((CpuDevice)y.Device, y.Count, new Range { Y = y.Floats, X = x.Floats, Factor = factor });

        private struct Range : ISimdRange
        {
            internal float* Y, X;
            internal float Factor;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                T factor = T.Create(Factor);
                long i = start;
                for (; i + T.Width <= end; i += T.Width) T.Store(Y + i, T.Mul(T.Load(X + i), factor));
                for (; i < end; i++) Y[i] = X[i] * Factor;
            }
        }
    }
}
