using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ConcatOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void CopyBlocks(Tensor destination, long destinationStart, long destinationStep,
            Tensor source, long sourceStart, long sourceStep, long block, long count)
        {
            nint to = destination.Pointer, from = source.Pointer;
            ((CpuDevice)destination.Device).Workers.ForRanges(count, Math.Max(1, CpuGrain.Elementwise / block), (start, end) =>
            {
                for (long i = start; i < end; i++)
                    NativeMemory.Copy((float*)from + sourceStart + i * sourceStep, (float*)to + destinationStart + i * destinationStep, (nuint)(block * sizeof(float)));
            });
        }
    }
}
