using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AddInPlaceOp
{
    internal sealed class Cpu : Kernels
    {
        internal override unsafe void AddInPlace(Tensor sum, Tensor term)
        {
            var cpu = (CpuDevice)sum.Device;
            nint s = sum.Pointer, t = term.Pointer;
            if (sum.Type == DType.BFloat16)
            {
                cpu.Workers.ForRanges(sum.Count, CpuGrain.Elementwise, (from, to) =>
                {
                    for (long i = from; i < to; i++)
                        ((ushort*)s)[i] = BFloat16Bits.From(BFloat16Bits.ToSingle(((ushort*)s)[i]) + BFloat16Bits.ToSingle(((ushort*)t)[i]));
                });
                return;
            }
            cpu.Workers.ForRanges(sum.Count, CpuGrain.Elementwise, (from, to) =>
            {
                var into = new Span<float>((float*)s + from, (int)(to - from));
                TensorPrimitives.Add(into, new ReadOnlySpan<float>((float*)t + from, (int)(to - from)), into);
            });
        }
    }
}
