using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelContrast.Devices;

/// <summary>16 floats in one 512-bit register.</summary>
internal readonly unsafe struct F512 : ISimd<F512>
{
    private readonly Vector512<float> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private F512(Vector512<float> v) => _v = v;

    public static int Width => 16;

    internal static F512 From(Vector512<float> v) => new(v);

    internal Vector512<float> Vector => _v;

    public static F512 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Create(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 LoadBytes(byte* source) => new(Avx512F.IsSupported
        ? Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load(source)))
        : Vector512.Create(F256.LoadBytes(source).Vector, F256.LoadBytes(source + 8).Vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Gather(float* source, F512 index) => new(Vector512.Create(
        F256.Gather(source, F256.From(index._v.GetLower())).Vector, F256.Gather(source, F256.From(index._v.GetUpper())).Vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, F512 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreStreaming(float* destination, F512 value) => value._v.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Fma(F512 a, F512 b, F512 c) => new(Vector512.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Add(F512 a, F512 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Sub(F512 a, F512 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Mul(F512 a, F512 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Div(F512 a, F512 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Min(F512 a, F512 b) => new(Vector512.Min(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Max(F512 a, F512 b) => new(Vector512.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Sqrt(F512 a) => new(Vector512.Sqrt(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Abs(F512 a) => new(Vector512.Abs(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Round(F512 a) => new(Vector512.Round(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Floor(F512 a) => new(Vector512.Floor(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 SelectGreater(F512 x, F512 y, F512 a, F512 b) =>
        new(Vector512.ConditionalSelect(Vector512.GreaterThan(x._v, y._v), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 SelectSameBits(F512 x, F512 y, F512 a, F512 b) =>
        new(Vector512.ConditionalSelect(Vector512.Equals(x._v.AsInt32(), y._v.AsInt32()).AsSingle(), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(F512 a) => Vector512.Sum(a._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Scale2(F512 a, F512 n) =>
        // 2^n is the float whose exponent field is n + 127
        new(a._v * Vector512.ShiftLeft(Vector512.ConvertToInt32(n._v) + Vector512.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 ScaleFar(F512 a, F512 n)
    {
        if (Avx512F.IsSupported) return new(Avx512F.Scale(a._v, n._v));
        F512 half = Floor(Mul(n, Create(0.5f)));
        return Scale2(Scale2(a, half), Sub(n, half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 Exponent(F512 a) =>
        new(Vector512.ConvertToSingle(Vector512.ShiftRightLogical(a._v.AsInt32(), 23) - Vector512.Create(127)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F512 AddExponent(F512 a, F512 n) => new((a._v.AsInt32() + Vector512.ShiftLeft(n._v.AsInt32(), 23)).AsSingle());

    public static F512 LoadPartial(float* source, int count, float fill)
    {
        if (count >= Width) return Load(source);
        if (count <= 0) return Create(fill);
        float* lanes = stackalloc float[Width];
        for (int i = 0; i < Width; i++) lanes[i] = i < count ? source[i] : fill;
        return Load(lanes);
    }

    public static void StorePartial(float* destination, F512 value, int count)
    {
        if (count >= Width) { Store(destination, value); return; }
        float* lanes = stackalloc float[Width];
        Store(lanes, value);
        for (int i = 0; i < count; i++) destination[i] = lanes[i];
    }

    public static float MaxAcross(F512 a)
    {
        return F256.MaxAcross(F256.From(Vector256.Max(a._v.GetLower(), a._v.GetUpper())));
    }
}
