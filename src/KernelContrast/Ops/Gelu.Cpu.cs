using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class GeluOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x) =>
            SimdRanges.Elementwise((CpuDevice)y.Device, y.Count, new ForwardRange { Y = y.Floats, X = x.Floats });

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x) =>
            SimdRanges.Elementwise((CpuDevice)x.Device, x.Count, new BackwardRange { GradX = gradX.Floats, GradY = gradY.Floats, X = x.Floats });

        private struct ForwardRange : ISimdRange
        {
            internal float* Y, X;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                long i = start;
                for (; i + T.Width <= end; i += T.Width) T.Store(Y + i, Value(T.Load(X + i)));
                if (i < end) T.StorePartial(Y + i, Value(T.LoadPartial(X + i, (int)(end - i), 0)), (int)(end - i));
            }

            // the limit at −∞ is 0, where −∞ · 0 would be NaN
            private static T Value<T>(T x) where T : struct, ISimd<T>
            {
                T low = T.Create(-20);
                x = T.SelectGreater(low, x, low, x);
                return T.Mul(x, SimdMath.NormalCdf(x));
            }
        }

        private struct BackwardRange : ISimdRange
        {
            internal float* GradX, GradY, X;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                long i = start;
                for (; i + T.Width <= end; i += T.Width) T.Store(GradX + i, T.Mul(T.Load(GradY + i), Slope(T.Load(X + i))));
                if (i >= end) return;
                int count = (int)(end - i);
                T.StorePartial(GradX + i, T.Mul(T.LoadPartial(GradY + i, count, 0), Slope(T.LoadPartial(X + i, count, 0))), count);
            }

            private static T Slope<T>(T x) where T : struct, ISimd<T>
            {
                // beyond ±20 the slope is 0 or 1; clamping keeps ∞ · 0 away
                T low = T.Create(-20), high = T.Create(20);
                x = T.SelectGreater(low, x, low, T.SelectGreater(x, high, high, x));
                T density = T.Mul(T.Create(0.398942280f), SimdMath.Exp(T.Mul(T.Mul(x, x), T.Create(-0.5f))));
                return T.Fma(x, density, SimdMath.NormalCdf(x));
            }
        }
    }
}
