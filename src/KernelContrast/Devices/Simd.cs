using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelContrast.Devices;

/// <summary>
/// A vector of floats of some width. Kernels are written once, generic over it, and instantiated for 512, 256 and 128
/// bits; the JIT sees a struct around one register and emits the same code as for the vector type itself (measured on
/// a 14×2 GEMM micro-kernel: 115.1 GFLOP/s both ways).
/// </summary>
internal unsafe interface ISimd<T> where T : struct, ISimd<T>
{
    /// <summary>Floats per vector.</summary>
    static abstract int Width { get; }
    static abstract T Zero { get; }
    static abstract T Create(float value);
    static abstract T Load(float* source);
    /// <summary>Loads the first <paramref name="count"/> floats and fills the rest with <paramref name="fill"/>.</summary>
    static abstract T LoadPartial(float* source, int count, float fill);
    /// <summary>Loads as many bytes as there are lanes, as 0 … 255.</summary>
    static abstract T LoadBytes(byte* source);
    /// <summary>source[index], lane by lane; an index is a whole number below 2²⁴.</summary>
    static abstract T Gather(float* source, T index);
    static abstract void Store(float* destination, T value);
    /// <summary>
    /// Past the caches, to a multiple of the vector's bytes, for what will not be read soon: a line that is written whole is not
    /// fetched first. Other threads see it after a <see cref="Simd.FenceStreams"/> of this one.
    /// </summary>
    static abstract void StoreStreaming(float* destination, T value);
    static abstract void StorePartial(float* destination, T value, int count);
    /// <summary>a·b + c, fused where the hardware has it.</summary>
    static abstract T Fma(T a, T b, T c);
    static abstract T Add(T a, T b);
    static abstract T Sub(T a, T b);
    static abstract T Mul(T a, T b);
    static abstract T Div(T a, T b);
    static abstract T Min(T a, T b);
    static abstract T Max(T a, T b);
    static abstract T Sqrt(T a);
    static abstract T Abs(T a);
    static abstract T Round(T a);
    static abstract T Floor(T a);
    /// <summary>a · 2^n for whole n in [−126, 127].</summary>
    static abstract T Scale2(T a, T n);
    /// <summary>a · 2^n for whole n in [−252, 254], rounded once when the result is subnormal.</summary>
    static abstract T ScaleFar(T a, T n);
    /// <summary>⌊log₂ a⌋ of positive normal numbers.</summary>
    static abstract T Exponent(T a);
    /// <summary>
    /// a · 2^k where k is a whole number held in the low bits of n, as in n = k + 1.5·2²³. Adds to the exponent of a,
    /// so a and the result must be normal; NaN stays when the low 9 bits of both are zero.
    /// </summary>
    static abstract T AddExponent(T a, T n);
    /// <summary>x &gt; y ? a : b, lane by lane.</summary>
    static abstract T SelectGreater(T x, T y, T a, T b);
    /// <summary>Whether the bits of x and y agree ? a : b, lane by lane: for whole numbers that only look like floats.</summary>
    static abstract T SelectSameBits(T x, T y, T a, T b);
    static abstract float Sum(T a);
    static abstract float MaxAcross(T a);
}

/// <summary>Chooses the vector width once at start; tests narrow it.</summary>
internal static class Simd
{
    /// <summary>Width in bits: 512, 256 or 128. <c>KERNELCONTRAST_SIMD</c> narrows it, for comparisons.</summary>
    internal static int Bits { get; private set; } = Initial();

    internal static int HardwareBits =>
        Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <summary>What this thread streamed to memory comes before all that it writes from here on.</summary>
    internal static void FenceStreams()
    {
        if (Sse.IsSupported) Sse.StoreFence();
        else Thread.MemoryBarrier();
    }

    /// <summary>Runs with a narrower width until the result is disposed.</summary>
    internal static IDisposable Limit(int bits)
    {
        if (bits is not (128 or 256 or 512) || bits > HardwareBits)
            throw new ArgumentOutOfRangeException(nameof(bits), bits, $"This machine has vectors of up to {HardwareBits} bits.");
        var restore = new Restore(Bits);
        Bits = bits;
        return restore;
    }

    private static int Initial()
    {
        string? asked = Environment.GetEnvironmentVariable("KERNELCONTRAST_SIMD");
        return string.IsNullOrEmpty(asked) ? HardwareBits
            : int.TryParse(asked, out int bits) && bits is 128 or 256 or 512 && bits <= HardwareBits ? bits
            : throw new NotSupportedException(
                $"KERNELCONTRAST_SIMD={asked}: expected 128, 256 or 512, at most {HardwareBits} on this machine.");
    }

    private sealed class Restore(int bits) : IDisposable
    {
        public void Dispose() => Bits = bits;
    }
}
