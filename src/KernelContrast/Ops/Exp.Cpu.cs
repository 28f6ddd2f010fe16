using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ExpOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x) =>
            SimdRanges.Elementwise((CpuDevice)y.Device, y.Count, new ForwardRange { Y = y.Floats, X = x.Floats });

        private struct ForwardRange : ISimdRange
        {
            internal float* Y, X;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                long i = start;
                for (; i + T.Width <= end; i += T.Width) T.Store(Y + i, SimdMath.Exp(T.Load(X + i)));
                if (i < end) T.StorePartial(Y + i, SimdMath.Exp(T.LoadPartial(X + i, (int)(end - i), 0)), (int)(end - i));
            }
        }
    }
}
