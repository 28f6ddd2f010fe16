using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CastOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void RoundToTf32(Tensor y, Tensor x)
        {
            nint to = y.Pointer, from = x.Pointer;
            ((CpuDevice)y.Device).Workers.ForRanges(y.Count, CpuGrain.Elementwise, (start, end) =>
            {
                for (long i = start; i < end; i++)
                {
                    uint bits = ((uint*)from)[i];
                    // infinities and NaN stay
                    ((uint*)to)[i] = (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & 0xffffe000;
                }
            });
        }

        internal override void Convert(Tensor y, Tensor x)
        {
            nint to = y.Pointer, from = x.Pointer;
            bool narrow = y.Type == DType.BFloat16;
            ((CpuDevice)y.Device).Workers.ForRanges(y.Count, CpuGrain.Elementwise, (start, end) =>
            {
                if (narrow) for (long i = start; i < end; i++) ((ushort*)to)[i] = BFloat16Bits.From(((float*)from)[i]);
                else for (long i = start; i < end; i++) ((float*)to)[i] = BFloat16Bits.ToSingle(((ushort*)from)[i]);
            });
        }
    }
}

/// <summary>Conversions of single numbers.</summary>
internal static class BFloat16Bits
{
    /// <summary>To nearest, ties to even; NaN becomes 0x7fff, as on NVIDIA GPUs.</summary>
    internal static ushort From(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        return float.IsNaN(x) ? (ushort)0x7fff : (ushort)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }

    internal static float ToSingle(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}
