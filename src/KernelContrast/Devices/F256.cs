using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelContrast.Devices;

/// <summary>8 floats in one 256-bit register.</summary>
internal readonly unsafe struct F256 : ISimd<F256>
{
    private readonly Vector256<float> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private F256(Vector256<float> v) => _v = v;

    public static int Width => 8;

    internal static F256 From(Vector256<float> v) => new(v);

    internal Vector256<float> Vector => _v;

    public static F256 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Create(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 LoadBytes(byte* source) => new(Avx2.IsSupported
        ? Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(source))
        : Vector256.Create(F128.LoadBytes(source).Vector, F128.LoadBytes(source + 4).Vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Gather(float* source, F256 index) => new(Avx2.IsSupported
        ? Avx2.GatherVector256(source, Vector256.ConvertToInt32(index._v), sizeof(float))
        : Vector256.Create(F128.Gather(source, F128.From(index._v.GetLower())).Vector, F128.Gather(source, F128.From(index._v.GetUpper())).Vector));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, F256 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreStreaming(float* destination, F256 value) => value._v.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Fma(F256 a, F256 b, F256 c) => new(Vector256.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Add(F256 a, F256 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Sub(F256 a, F256 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Mul(F256 a, F256 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Div(F256 a, F256 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Min(F256 a, F256 b) => new(Vector256.Min(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Max(F256 a, F256 b) => new(Vector256.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Sqrt(F256 a) => new(Vector256.Sqrt(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Abs(F256 a) => new(Vector256.Abs(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Round(F256 a) => new(Vector256.Round(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Floor(F256 a) => new(Vector256.Floor(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 SelectGreater(F256 x, F256 y, F256 a, F256 b) =>
        new(Vector256.ConditionalSelect(Vector256.GreaterThan(x._v, y._v), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 SelectSameBits(F256 x, F256 y, F256 a, F256 b) =>
        new(Vector256.ConditionalSelect(Vector256.Equals(x._v.AsInt32(), y._v.AsInt32()).AsSingle(), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(F256 a) => Vector256.Sum(a._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Scale2(F256 a, F256 n) =>
        // 2^n is the float whose exponent field is n + 127
        new(a._v * Vector256.ShiftLeft(Vector256.ConvertToInt32(n._v) + Vector256.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 ScaleFar(F256 a, F256 n)
    {
        F256 half = Floor(Mul(n, Create(0.5f)));
        return Scale2(Scale2(a, half), Sub(n, half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 Exponent(F256 a) =>
        new(Vector256.ConvertToSingle(Vector256.ShiftRightLogical(a._v.AsInt32(), 23) - Vector256.Create(127)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F256 AddExponent(F256 a, F256 n) => new((a._v.AsInt32() + Vector256.ShiftLeft(n._v.AsInt32(), 23)).AsSingle());

    public static F256 LoadPartial(float* source, int count, float fill)
    {
        if (count >= Width) return Load(source);
        if (count <= 0) return Create(fill);
        float* lanes = stackalloc float[Width];
        for (int i = 0; i < Width; i++) lanes[i] = i < count ? source[i] : fill;
        return Load(lanes);
    }

    public static void StorePartial(float* destination, F256 value, int count)
    {
        if (count >= Width) { Store(destination, value); return; }
        float* lanes = stackalloc float[Width];
        Store(lanes, value);
        for (int i = 0; i < count; i++) destination[i] = lanes[i];
    }

    public static float MaxAcross(F256 a)
    {
        return F128.MaxAcross(F128.From(Vector128.Max(a._v.GetLower(), a._v.GetUpper())));
    }
}
