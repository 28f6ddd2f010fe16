using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LayerNormOp
{
    /// <summary>One row at a time: it stays in L1 from its mean to its output, so memory is read once and written once.</summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor statistics, Tensor x, Tensor? gamma, Tensor? beta, float epsilon)
        {
            int rows = x.Shape[0], dim = x.Shape[1];
            var cpu = (CpuDevice)x.Device;
            SimdRanges.Run(cpu, rows, SimdRanges.Parts(cpu, rows, CpuGrain.Elementwise / dim), new ForwardRows
            {
                Y = y.Floats,
                Mean = statistics.Floats,
                Inverse = statistics.Floats + rows,
                X = x.Floats,
                Gamma = gamma is null ? null : gamma.Floats,
                Beta = beta is null ? null : beta.Floats,
                Dim = dim,
                Epsilon = epsilon,
            });
        }

        internal override void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor gradY, Tensor x, Tensor? gamma, Tensor statistics)
        {
            int rows = x.Shape[0], dim = x.Shape[1];
            var cpu = (CpuDevice)x.Device;
            int parts = SimdRanges.Parts(cpu, rows, CpuGrain.Elementwise / dim);
            bool sums = gradGamma is not null || gradBeta is not null;
            // per part: Σ grad_y·x̂, then Σ grad_y; a row of either is a multiple of 16 floats, so that parts share no cache line
            int stride = (dim + 15) / 16 * 16;
            using Tensor? partial = sums ? Tensor.Zeros(new(parts, 2 * stride), x.Device) : null;
            SimdRanges.Run(cpu, rows, parts, new BackwardRows
            {
                GradX = gradX is null ? null : gradX.Floats,
                Sums = partial is null ? null : partial.Floats,
                Stride = stride,
                GradY = gradY.Floats,
                X = x.Floats,
                Gamma = gamma is null ? null : gamma.Floats,
                Mean = statistics.Floats,
                Inverse = statistics.Floats + rows,
                Dim = dim,
            });
            if (gradGamma is not null) Gather(gradGamma.Floats, partial!.Floats, parts, 2 * stride, dim);
            if (gradBeta is not null) Gather(gradBeta.Floats, partial!.Floats + stride, parts, 2 * stride, dim);
        }

        private static void Gather(float* result, float* sums, int parts, int step, int dim)
        {
            for (int d = 0; d < dim; d++)
            {
                double total = 0;
                for (int part = 0; part < parts; part++) total += sums[(long)part * step + d];
                result[d] = (float)total;
            }
        }

        private struct ForwardRows : ISimdRange
        {
            internal float* Y, Mean, Inverse, X, Gamma, Beta;
            internal int Dim;
            internal float Epsilon;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                for (long row = start; row < end; row++) Row<T>(row, Y + row * Dim, X + row * Dim);
            }

            private readonly void Row<T>(long row, float* y, float* x) where T : struct, ISimd<T>
            {
                int whole = Dim - Dim % T.Width, tail = Dim - whole;
                // around the first element, so that a large common offset does not cancel
                T first = T.Create(x[0]), sum0 = T.Zero, sum1 = T.Zero;
                T last = tail > 0 ? T.LoadPartial(x + whole, tail, x[0]) : first;
                int i = 0;
                for (; i + 2 * T.Width <= whole; i += 2 * T.Width)
                {
                    sum0 = T.Add(sum0, T.Sub(T.Load(x + i), first));
                    sum1 = T.Add(sum1, T.Sub(T.Load(x + i + T.Width), first));
                }
                if (i < whole) sum0 = T.Add(sum0, T.Sub(T.Load(x + i), first));
                sum1 = T.Add(sum1, T.Sub(last, first));
                float mean = x[0] + T.Sum(T.Add(sum0, sum1)) / Dim;
                T center = T.Create(mean), square0 = T.Zero, square1 = T.Zero;
                for (i = 0; i + 2 * T.Width <= whole; i += 2 * T.Width)
                {
                    T a = T.Sub(T.Load(x + i), center), b = T.Sub(T.Load(x + i + T.Width), center);
                    square0 = T.Fma(a, a, square0);
                    square1 = T.Fma(b, b, square1);
                }
                if (i < whole)
                {
                    T a = T.Sub(T.Load(x + i), center);
                    square0 = T.Fma(a, a, square0);
                }
                float squares = T.Sum(T.Add(square0, square1));
                for (int d = whole; d < Dim; d++) squares += (x[d] - mean) * (x[d] - mean);
                float inverse = 1 / MathF.Sqrt(squares / Dim + Epsilon);
                Mean[row] = mean;
                Inverse[row] = inverse;
                T scale = T.Create(inverse);
                for (i = 0; i < whole; i += T.Width)
                {
                    T value = T.Mul(T.Sub(T.Load(x + i), center), scale);
                    if (Gamma != null) value = T.Mul(value, T.Load(Gamma + i));
                    if (Beta != null) value = T.Add(value, T.Load(Beta + i));
                    T.Store(y + i, value);
                }
                for (; i < Dim; i++)
                {
                    float value = (x[i] - mean) * inverse;
                    if (Gamma != null) value *= Gamma[i];
                    if (Beta != null) value += Beta[i];
                    y[i] = value;
                }
            }
        }

        private struct BackwardRows : ISimdRange
        {
            internal float* GradX, Sums, GradY, X, Gamma, Mean, Inverse;
            internal int Dim, Stride;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                float* sums = Sums == null ? null : Sums + (long)part * 2 * Stride;
                for (long row = start; row < end; row++)
                    Row<T>(GradX == null ? null : GradX + row * Dim, sums, GradY + row * Dim, X + row * Dim, Mean[row], Inverse[row]);
            }

            private readonly void Row<T>(float* gradX, float* sums, float* gradY, float* x, float mean, float inverse) where T : struct, ISimd<T>
            {
                int whole = Dim - Dim % T.Width;
                T center = T.Create(mean), scale = T.Create(inverse), sumH = T.Zero, sumHX = T.Zero;
                int i = 0;
                for (; i < whole; i += T.Width)
                {
                    T g = T.Load(gradY + i), normal = T.Mul(T.Sub(T.Load(x + i), center), scale);
                    T h = Gamma == null ? g : T.Mul(g, T.Load(Gamma + i));
                    sumH = T.Add(sumH, h);
                    sumHX = T.Fma(h, normal, sumHX);
                    if (sums == null) continue;
                    T.Store(sums + i, T.Fma(g, normal, T.Load(sums + i)));
                    T.Store(sums + Stride + i, T.Add(g, T.Load(sums + Stride + i)));
                }
                float totalH = T.Sum(sumH), totalHX = T.Sum(sumHX);
                for (; i < Dim; i++)
                {
                    float g = gradY[i], normal = (x[i] - mean) * inverse, h = Gamma == null ? g : g * Gamma[i];
                    totalH += h;
                    totalHX += h * normal;
                    if (sums == null) continue;
                    sums[i] += g * normal;
                    sums[Stride + i] += g;
                }
                if (gradX == null) return;
                float meanH = totalH / Dim, meanHX = totalHX / Dim;
                T a = T.Create(meanH), b = T.Create(-meanHX);
                for (i = 0; i < whole; i += T.Width)
                {
                    T h = T.Load(gradY + i), normal = T.Mul(T.Sub(T.Load(x + i), center), scale);
                    if (Gamma != null) h = T.Mul(h, T.Load(Gamma + i));
                    T.Store(gradX + i, T.Mul(scale, T.Fma(normal, b, T.Sub(h, a))));
                }
                for (; i < Dim; i++)
                {
                    float h = Gamma == null ? gradY[i] : gradY[i] * Gamma[i];
                    gradX[i] = inverse * (h - meanH - (x[i] - mean) * inverse * meanHX);
                }
            }
        }
    }
}
