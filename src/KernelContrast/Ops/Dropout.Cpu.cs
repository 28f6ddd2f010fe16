using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class DropoutOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Mask(Tensor y, Tensor x, float p, ulong seed, ulong stream)
        {
            nint to = y.Pointer, from = x.Pointer;
            long count = x.Count, blocks = (count + 3) / 4;
            float scale = 1 / (1 - p);
            // one block of the generator serves four elements and costs about ten times a pass over them
            ((CpuDevice)y.Device).Workers.ForRanges(blocks, CpuGrain.Elementwise / 40, (start, end) =>
            {
                uint* bits = stackalloc uint[4];
                for (long block = start; block < end; block++)
                {
                    (bits[0], bits[1], bits[2], bits[3]) = Philox.Block((uint)block, (uint)(block >> 32),
                        (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32));
                    long first = 4 * block;
                    int width = (int)Math.Min(4, count - first);
                    // a product, so that NaN stays NaN where it is dropped too
                    for (int i = 0; i < width; i++)
                        ((float*)to)[first + i] = ((float*)from)[first + i] * (Philox.ToUnit(bits[i]) >= p ? scale : 0);
                }
            });
        }
    }
}
