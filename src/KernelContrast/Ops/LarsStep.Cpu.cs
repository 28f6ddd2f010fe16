using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LarsStepOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Step(TensorGroup group, double inner, float outer, float momentum, double trust)
        {
            for (int i = 0; i < group.Count; i++)
            {
                GroupEntry entry = group[i];
                double ratio = 1;
                if (entry.Scaled)
                {
                    (double ofParameter, double ofUpdate) = Norms(entry.Parameter, entry.Source, (float)entry.Decay);
                    // A NaN fails both comparisons and must not pass for a ratio of 1.
                    ratio = ofParameter == 0 || ofUpdate == 0 ? 1 : trust * ofParameter / ofUpdate;
                }
                Step(entry.Parameter, entry.First!, entry.Source, (float)(inner * ratio), outer, momentum, (float)entry.Decay);
            }
        }

        private static (double Parameter, double Update) Norms(Tensor parameter, Tensor grad, float decay)
        {
            nint p = parameter.Pointer, g = grad.Pointer;
            long count = parameter.Count;
            int blocks = (int)((count + CpuGrain.Elementwise - 1) / CpuGrain.Elementwise);
            var sums = new (double Parameter, double Update)[blocks];
            ((CpuDevice)parameter.Device).Workers.For(blocks, (_, block) =>
            {
                long start = block * CpuGrain.Elementwise, end = Math.Min(count, start + CpuGrain.Elementwise);
                sums[block] = Simd.Bits switch
                {
                    512 => Squares<F512>((float*)p, (float*)g, start, end, decay),
                    256 => Squares<F256>((float*)p, (float*)g, start, end, decay),
                    _ => Squares<F128>((float*)p, (float*)g, start, end, decay),
                };
            });
            (double ofParameter, double ofUpdate) = (0, 0);
            foreach ((double sumOfParameter, double sumOfUpdate) in sums)
            {
                ofParameter += sumOfParameter;
                ofUpdate += sumOfUpdate;
            }
            return (Math.Sqrt(ofParameter), Math.Sqrt(ofUpdate));
        }

        private static void Step(Tensor parameter, Tensor buffer, Tensor grad, float inner, float outer, float momentum, float decay)
        {
            nint p = parameter.Pointer, m = buffer.Pointer, g = grad.Pointer;
            ((CpuDevice)parameter.Device).Workers.ForRanges(parameter.Count, CpuGrain.Elementwise, (start, end) =>
            {
                switch (Simd.Bits)
                {
                    case 512: Range<F512>((float*)p, (float*)m, (float*)g, start, end, inner, outer, momentum, decay); break;
                    case 256: Range<F256>((float*)p, (float*)m, (float*)g, start, end, inner, outer, momentum, decay); break;
                    default: Range<F128>((float*)p, (float*)m, (float*)g, start, end, inner, outer, momentum, decay); break;
                }
            });
        }

        private static (double Parameter, double Update) Squares<T>(float* parameter, float* grad, long start, long end, float decay)
            where T : struct, ISimd<T>
        {
            T factor = T.Create(decay), ofParameter = T.Zero, ofUpdate = T.Zero;
            for (long i = start; i < end; i += T.Width)
            {
                int count = (int)Math.Min(T.Width, end - i);
                T p = T.LoadPartial(parameter + i, count, 0);
                T u = T.Fma(factor, p, T.LoadPartial(grad + i, count, 0));
                ofParameter = T.Fma(p, p, ofParameter);
                ofUpdate = T.Fma(u, u, ofUpdate);
            }
            return (T.Sum(ofParameter), T.Sum(ofUpdate));
        }

        private static void Range<T>(float* parameter, float* buffer, float* grad, long start, long end,
            float inner, float outer, float momentum, float decay) where T : struct, ISimd<T>
        {
            T innerFactor = T.Create(inner), minusOuter = T.Create(-outer), momentumFactor = T.Create(momentum), decayFactor = T.Create(decay);
            for (long i = start; i < end; i += T.Width)
            {
                int count = (int)Math.Min(T.Width, end - i);
                T p = T.LoadPartial(parameter + i, count, 0);
                T u = T.Fma(decayFactor, p, T.LoadPartial(grad + i, count, 0));
                T m = T.Fma(momentumFactor, T.LoadPartial(buffer + i, count, 0), T.Mul(innerFactor, u));
                T.StorePartial(buffer + i, m, count);
                T.StorePartial(parameter + i, T.Fma(minusOuter, m, p), count);
            }
        }
    }
}
