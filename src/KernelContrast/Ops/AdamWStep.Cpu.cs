using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AdamWStepOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Step(TensorGroup group, in Scalars scalars)
        {
            for (int i = 0; i < group.Count; i++)
            {
                GroupEntry entry = group[i];
                Step(entry.Parameter, entry.First!, entry.Second!, entry.Source, scalars, keep: (float)(1 - scalars.LearningRate * entry.Decay));
            }
        }

        private static void Step(Tensor parameter, Tensor mean, Tensor square, Tensor grad, in Scalars scalars, float keep)
        {
            nint p = parameter.Pointer, m = mean.Pointer, v = square.Pointer, g = grad.Pointer;
            Scalars s = scalars;
            ((CpuDevice)parameter.Device).Workers.ForRanges(parameter.Count, CpuGrain.Elementwise, (start, end) =>
            {
                switch (Simd.Bits)
                {
                    case 512: Range<F512>((float*)p, (float*)m, (float*)v, (float*)g, start, end, s, keep); break;
                    case 256: Range<F256>((float*)p, (float*)m, (float*)v, (float*)g, start, end, s, keep); break;
                    default: Range<F128>((float*)p, (float*)m, (float*)v, (float*)g, start, end, s, keep); break;
                }
            });
        }

        private static void Range<T>(float* parameter, float* mean, float* square, float* grad, long start, long end, in Scalars s, float kept)
            where T : struct, ISimd<T>
        {
            T beta1 = T.Create(s.Beta1), rest1 = T.Create(1 - s.Beta1), beta2 = T.Create(s.Beta2), rest2 = T.Create(1 - s.Beta2);
            T minusRate = T.Create(-s.Rate), squareScale = T.Create(s.SquareScale), epsilon = T.Create(s.Epsilon), keep = T.Create(kept);
            for (long i = start; i < end; i += T.Width)
            {
                int count = (int)Math.Min(T.Width, end - i);
                T g = T.LoadPartial(grad + i, count, 0);
                T m = T.Fma(beta1, T.LoadPartial(mean + i, count, 0), T.Mul(rest1, g));
                T v = T.Fma(beta2, T.LoadPartial(square + i, count, 0), T.Mul(rest2, T.Mul(g, g)));
                T.StorePartial(mean + i, m, count);
                T.StorePartial(square + i, v, count);
                T step = T.Div(m, T.Fma(T.Sqrt(v), squareScale, epsilon));
                T.StorePartial(parameter + i, T.Fma(minusRate, step, T.Mul(keep, T.LoadPartial(parameter + i, count, 0))), count);
            }
        }
    }
}
