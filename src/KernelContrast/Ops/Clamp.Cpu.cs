using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ClampOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, float low, float high) =>
            SimdRanges.Elementwise((CpuDevice)y.Device, y.Count, new Range { Y = y.Floats, X = x.Floats, Low = low, High = high });

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x, float low, float high) =>
            SimdRanges.Elementwise((CpuDevice)x.Device, x.Count, new Range { Y = gradX.Floats, X = x.Floats, GradY = gradY.Floats, Low = low, High = high });

        /// <summary>The clamped x or, where an upstream gradient is given, its gradient.</summary>
        private struct Range : ISimdRange
        {
            internal float* Y, X, GradY;
            internal float Low, High;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                T low = T.Create(Low), high = T.Create(High);
                long i = start;
                if (GradY == null)
                    for (; i + T.Width <= end; i += T.Width)
                    {
                        // selects, since they let NaN through
                        T x = T.Load(X + i);
                        T.Store(Y + i, T.SelectGreater(low, x, low, T.SelectGreater(x, high, high, x)));
                    }
                else
                    for (; i + T.Width <= end; i += T.Width)
                    {
                        T x = T.Load(X + i);
                        T.Store(Y + i, T.SelectGreater(low, x, T.Zero, T.SelectGreater(x, high, T.Zero, T.Load(GradY + i))));
                    }
                for (; i < end; i++)
                {
                    bool below = X[i] < Low, above = X[i] > High;
                    Y[i] = GradY != null ? below || above ? 0 : GradY[i] : below ? Low : above ? High : X[i];
                }
            }
        }
    }
}
