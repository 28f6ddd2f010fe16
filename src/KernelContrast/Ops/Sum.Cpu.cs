using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SumOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, double factor)
        {
            var cpu = (CpuDevice)y.Device;
            int parts = SimdRanges.Parts(cpu, x.Count, CpuGrain.Elementwise);
            double* sums = stackalloc double[parts];
            new Span<double>(sums, parts).Clear();
            SimdRanges.Run(cpu, x.Count, parts, new SumRange { Sums = sums, X = x.Floats }, unit: 16);
            double sum = 0;
            for (int part = 0; part < parts; part++) sum += sums[part];
            y.Floats[0] = (float)(sum * factor);
        }

        internal override void Backward(Tensor gradX, Tensor gradY, double factor) =>
            SimdRanges.Elementwise((CpuDevice)gradX.Device, gradX.Count,
                new FillRange { GradX = gradX.Floats, Value = (float)(gradY.Floats[0] * factor) });

        private struct SumRange : ISimdRange
        {
            internal double* Sums;
            internal float* X;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                // float sums of short blocks, gathered in double
                const int Block = 1024;
                double total = 0;
                long i = start;
                for (; i + Block <= end; i += Block)
                {
                    T a = T.Zero, b = T.Zero, c = T.Zero, d = T.Zero;
                    for (float* x = X + i; x < X + i + Block; x += 4 * T.Width)
                    {
                        a = T.Add(a, T.Load(x));
                        b = T.Add(b, T.Load(x + T.Width));
                        c = T.Add(c, T.Load(x + 2 * T.Width));
                        d = T.Add(d, T.Load(x + 3 * T.Width));
                    }
                    total += T.Sum(T.Add(T.Add(a, b), T.Add(c, d)));
                }
                for (; i < end; i++) total += X[i];
                Sums[part] = total;
            }
        }

        private struct FillRange : ISimdRange
        {
            internal float* GradX;
            internal float Value;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                // a range of one part may exceed what a span counts
                for (long i = start; i < end; i += 1 << 20)
                    new Span<float>(GradX + i, (int)Math.Min(1 << 20, end - i)).Fill(Value);
            }
        }
    }
}
