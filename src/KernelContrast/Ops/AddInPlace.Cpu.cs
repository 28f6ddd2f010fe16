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
            cpu.Workers.ForRanges(sum.Count, CpuGrain.Elementwise, (from, to) =>
            {
                var into = new Span<float>((float*)s + from, (int)(to - from));
                TensorPrimitives.Add(into, new ReadOnlySpan<float>((float*)t + from, (int)(to - from)), into);
            });
        }
    }
}
