using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SoftmaxOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, float inverseTemperature) =>
            Rows(y, new ForwardRows { Y = y.Floats, X = x.Floats, Dim = x.Shape[1], InverseTemperature = inverseTemperature });

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor y, float inverseTemperature) =>
            Rows(y, new BackwardRows { GradX = gradX.Floats, GradY = gradY.Floats, Y = y.Floats, Dim = y.Shape[1], InverseTemperature = inverseTemperature });

        private static void Rows<TKernel>(Tensor y, TKernel kernel) where TKernel : struct, ISimdRange
        {
            var cpu = (CpuDevice)y.Device;
            SimdRanges.Run(cpu, y.Shape[0], SimdRanges.Parts(cpu, y.Shape[0], CpuGrain.Elementwise / y.Shape[1]), kernel);
        }

        private struct ForwardRows : ISimdRange
        {
            internal float* Y, X;
            internal int Dim;
            internal float InverseTemperature;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                for (long row = start; row < end; row++) Row<T>(Y + row * Dim, X + row * Dim);
            }

            private readonly void Row<T>(float* y, float* x) where T : struct, ISimd<T>
            {
                int dim = Dim, whole = dim - dim % T.Width, tail = dim - whole;
                T last = T.LoadPartial(x + whole, tail, float.NegativeInfinity);
                T max = last;
                for (int d = 0; d < whole; d += T.Width) max = T.Max(max, T.Load(x + d));
                T shift = T.Create(T.MaxAcross(max)), scale = T.Create(InverseTemperature);
                T sum0 = T.Zero, sum1 = T.Zero;
                int i = 0;
                for (; i + 2 * T.Width <= whole; i += 2 * T.Width)
                {
                    T e0 = SimdMath.Exp(T.Mul(T.Sub(T.Load(x + i), shift), scale));
                    T e1 = SimdMath.Exp(T.Mul(T.Sub(T.Load(x + i + T.Width), shift), scale));
                    T.Store(y + i, e0);
                    T.Store(y + i + T.Width, e1);
                    sum0 = T.Add(sum0, e0);
                    sum1 = T.Add(sum1, e1);
                }
                if (i < whole)
                {
                    T e0 = SimdMath.Exp(T.Mul(T.Sub(T.Load(x + i), shift), scale));
                    T.Store(y + i, e0);
                    sum0 = T.Add(sum0, e0);
                }
                if (tail > 0)
                {
                    last = SimdMath.Exp(T.Mul(T.Sub(last, shift), scale));
                    sum1 = T.Add(sum1, last);
                }
                T inverse = T.Create(1 / T.Sum(T.Add(sum0, sum1)));
                for (int d = 0; d < whole; d += T.Width) T.Store(y + d, T.Mul(T.Load(y + d), inverse));
                if (tail > 0) T.StorePartial(y + whole, T.Mul(last, inverse), tail);
            }
        }

        private struct BackwardRows : ISimdRange
        {
            internal float* GradX, GradY, Y;
            internal int Dim;
            internal float InverseTemperature;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                for (long row = start; row < end; row++) Row<T>(GradX + row * Dim, GradY + row * Dim, Y + row * Dim);
            }

            private readonly void Row<T>(float* gradX, float* gradY, float* y) where T : struct, ISimd<T>
            {
                int dim = Dim, whole = dim - dim % T.Width, tail = dim - whole;
                T yLast = T.LoadPartial(y + whole, tail, 0), gradLast = T.LoadPartial(gradY + whole, tail, 0);
                T sum0 = T.Mul(yLast, gradLast), sum1 = T.Zero;
                int i = 0;
                for (; i + 2 * T.Width <= whole; i += 2 * T.Width)
                {
                    sum0 = T.Fma(T.Load(y + i), T.Load(gradY + i), sum0);
                    sum1 = T.Fma(T.Load(y + i + T.Width), T.Load(gradY + i + T.Width), sum1);
                }
                if (i < whole) sum0 = T.Fma(T.Load(y + i), T.Load(gradY + i), sum0);
                T dot = T.Create(T.Sum(T.Add(sum0, sum1))), scale = T.Create(InverseTemperature);
                for (int d = 0; d < whole; d += T.Width)
                    T.Store(gradX + d, T.Mul(T.Mul(T.Load(y + d), scale), T.Sub(T.Load(gradY + d), dot)));
                if (tail > 0) T.StorePartial(gradX + whole, T.Mul(T.Mul(yLast, scale), T.Sub(gradLast, dot)), tail);
            }
        }
    }
}
