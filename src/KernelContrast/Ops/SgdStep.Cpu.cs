using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SgdStepOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Step(TensorGroup group, float rate, float momentum, bool nesterov)
        {
            for (int i = 0; i < group.Count; i++)
                Step(group[i].Parameter, group[i].First, group[i].Source, rate, momentum, nesterov, (float)group[i].Decay);
        }

        private static void Step(Tensor parameter, Tensor? buffer, Tensor grad, float rate, float momentum, bool nesterov, float decay)
        {
            nint p = parameter.Pointer, m = buffer?.Pointer ?? 0, g = grad.Pointer;
            var scalars = new Scalars(rate, momentum, nesterov, decay);
            ((CpuDevice)parameter.Device).Workers.ForRanges(parameter.Count, CpuGrain.Elementwise, (start, end) =>
            {
                switch (Simd.Bits)
                {
                    case 512: Range<F512>((float*)p, (float*)m, (float*)g, start, end, scalars); break;
                    case 256: Range<F256>((float*)p, (float*)m, (float*)g, start, end, scalars); break;
                    default: Range<F128>((float*)p, (float*)m, (float*)g, start, end, scalars); break;
                }
            });
        }

        private readonly record struct Scalars(float Rate, float Momentum, bool Nesterov, float Decay);

        private static void Range<T>(float* parameter, float* buffer, float* grad, long start, long end, Scalars s) where T : struct, ISimd<T>
        {
            T decay = T.Create(s.Decay), momentum = T.Create(s.Momentum), minusRate = T.Create(-s.Rate);
            for (long i = start; i < end; i += T.Width)
            {
                int count = (int)Math.Min(T.Width, end - i);
                T p = T.LoadPartial(parameter + i, count, 0);
                T step = T.Fma(decay, p, T.LoadPartial(grad + i, count, 0));
                if (buffer != null)
                {
                    T m = T.Fma(momentum, T.LoadPartial(buffer + i, count, 0), step);
                    T.StorePartial(buffer + i, m, count);
                    step = s.Nesterov ? T.Fma(momentum, m, step) : m;
                }
                T.StorePartial(parameter + i, T.Fma(minusRate, step, p), count);
            }
        }
    }
}
