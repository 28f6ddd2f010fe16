using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class EmaStepOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Step(TensorGroup group, float rate)
        {
            for (int i = 0; i < group.Count; i++)
            {
                GroupEntry entry = group[i];
                nint p = entry.Parameter.Pointer, s = entry.Source.Pointer;
                ((CpuDevice)group.Device).Workers.ForRanges(entry.Parameter.Count, CpuGrain.Elementwise, (start, end) =>
                {
                    switch (Simd.Bits)
                    {
                        case 512: Range<F512>((float*)p, (float*)s, start, end, rate); break;
                        case 256: Range<F256>((float*)p, (float*)s, start, end, rate); break;
                        default: Range<F128>((float*)p, (float*)s, start, end, rate); break;
                    }
                });
            }
        }

        // p ← p + rate · (s − p)
        private static void Range<T>(float* parameter, float* source, long start, long end, float rate) where T : struct, ISimd<T>
        {
            T factor = T.Create(rate);
            for (long i = start; i < end; i += T.Width)
            {
                int count = (int)Math.Min(T.Width, end - i);
                T p = T.LoadPartial(parameter + i, count, 0);
                T.StorePartial(parameter + i, T.Fma(factor, T.Sub(T.LoadPartial(source + i, count, 0), p), p), count);
            }
        }
    }
}
