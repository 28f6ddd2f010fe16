using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ReluOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x)
        {
            nint to = y.Pointer, from = x.Pointer;
            ((CpuDevice)y.Device).Workers.ForRanges(x.Count, CpuGrain.Elementwise, (start, end) =>
                TensorPrimitives.Max(new ReadOnlySpan<float>((float*)from + start, (int)(end - start)), 0f,
                    new Span<float>((float*)to + start, (int)(end - start))));
        }

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor y)
        {
            nint gx = gradX.Pointer, gy = gradY.Pointer, out_ = y.Pointer;
            ((CpuDevice)y.Device).Workers.ForRanges(y.Count, CpuGrain.Elementwise, (start, end) =>
            {
                switch (Simd.Bits)
                {
                    case 512: Mask<F512>((float*)gx, (float*)gy, (float*)out_, start, end); break;
                    case 256: Mask<F256>((float*)gx, (float*)gy, (float*)out_, start, end); break;
                    default: Mask<F128>((float*)gx, (float*)gy, (float*)out_, start, end); break;
                }
            });
        }

        // gradX[i] = y[i] > 0 ? gradY[i] : 0
        private static void Mask<T>(float* gradX, float* gradY, float* y, long start, long end) where T : struct, ISimd<T>
        {
            long i = start;
            for (; i + T.Width <= end; i += T.Width)
                T.Store(gradX + i, T.SelectGreater(T.Load(y + i), T.Zero, T.Load(gradY + i), T.Zero));
            for (; i < end; i++) gradX[i] = y[i] > 0 ? gradY[i] : 0;
        }
    }
}
