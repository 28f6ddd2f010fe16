using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class L2NormalizeOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor z, Tensor scales, Tensor x) =>
            Rows(z, new ForwardRows { Z = z.Floats, Largest = scales.Floats, Inverse = scales.Floats + x.Shape[0], X = x.Floats, Dim = x.Shape[1] });

        internal override void Backward(Tensor gradX, Tensor gradZ, Tensor z, Tensor scales) =>
            Rows(z, new BackwardRows
            {
                GradX = gradX.Floats,
                GradZ = gradZ.Floats,
                Z = z.Floats,
                Largest = scales.Floats,
                Inverse = scales.Floats + z.Shape[0],
                Dim = z.Shape[1],
            });

        private static void Rows<TKernel>(Tensor z, TKernel kernel) where TKernel : struct, ISimdRange
        {
            var cpu = (CpuDevice)z.Device;
            SimdRanges.Run(cpu, z.Shape[0], SimdRanges.Parts(cpu, z.Shape[0], CpuGrain.Elementwise / Math.Max(1, z.Shape[1])), kernel);
        }

        private struct ForwardRows : ISimdRange
        {
            internal float* Z, Largest, Inverse, X;
            internal int Dim;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int whole = Dim - Dim % T.Width, tail = Dim - whole;
                for (long row = start; row < end; row++)
                {
                    float* x = X + row * Dim, z = Z + row * Dim;
                    T last = T.LoadPartial(x + whole, tail, 0), max = T.Abs(last);
                    for (int d = 0; d < whole; d += T.Width) max = T.Max(max, T.Abs(T.Load(x + d)));
                    float largest = T.MaxAcross(max);
                    Largest[row] = largest;
                    if (largest == 0)
                    {
                        Inverse[row] = 0;
                        new Span<float>(z, Dim).Clear();
                        continue;
                    }
                    T divisor = T.Create(largest);
                    last = T.Div(last, divisor);
                    T sum = T.Mul(last, last);
                    for (int d = 0; d < whole; d += T.Width)
                    {
                        T scaled = T.Div(T.Load(x + d), divisor);
                        sum = T.Fma(scaled, scaled, sum);
                        T.Store(z + d, scaled);
                    }
                    Inverse[row] = 1 / MathF.Sqrt(T.Sum(sum));
                    T inverse = T.Create(Inverse[row]);
                    for (int d = 0; d < whole; d += T.Width) T.Store(z + d, T.Mul(T.Load(z + d), inverse));
                    if (tail > 0) T.StorePartial(z + whole, T.Mul(last, inverse), tail);
                }
            }
        }

        private struct BackwardRows : ISimdRange
        {
            internal float* GradX, GradZ, Z, Largest, Inverse;
            internal int Dim;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int whole = Dim - Dim % T.Width, tail = Dim - whole;
                for (long row = start; row < end; row++)
                {
                    float* z = Z + row * Dim, gradZ = GradZ + row * Dim, gradX = GradX + row * Dim;
                    if (Largest[row] == 0)
                    {
                        new Span<float>(gradX, Dim).Clear();
                        continue;
                    }
                    T zLast = T.LoadPartial(z + whole, tail, 0), gradLast = T.LoadPartial(gradZ + whole, tail, 0);
                    T sum = T.Mul(zLast, gradLast);
                    for (int d = 0; d < whole; d += T.Width) sum = T.Fma(T.Load(z + d), T.Load(gradZ + d), sum);
                    // r / m in two steps, since 1/m overflows for subnormal m
                    T minusDot = T.Create(-T.Sum(sum)), inverse = T.Create(Inverse[row]), divisor = T.Create(Largest[row]);
                    for (int d = 0; d < whole; d += T.Width)
                        T.Store(gradX + d, T.Div(T.Mul(T.Fma(T.Load(z + d), minusDot, T.Load(gradZ + d)), inverse), divisor));
                    if (tail > 0) T.StorePartial(gradX + whole, T.Div(T.Mul(T.Fma(zLast, minusDot, gradLast), inverse), divisor), tail);
                }
            }
        }
    }
}
