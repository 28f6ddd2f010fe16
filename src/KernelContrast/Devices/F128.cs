using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelContrast.Devices;

/// <summary>4 floats in one 128-bit register.</summary>
internal readonly unsafe struct F128 : ISimd<F128>
{
    private readonly Vector128<float> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private F128(Vector128<float> v) => _v = v;

    public static int Width => 4;

    internal static F128 From(Vector128<float> v) => new(v);

    internal Vector128<float> Vector => _v;

    public static F128 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Create(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 LoadBytes(byte* source) =>
        new(Vector128.Create((float)source[0], source[1], source[2], source[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Gather(float* source, F128 index)
    {
        Vector128<int> i = Vector128.ConvertToInt32(index._v);
        return new(Vector128.Create(source[i[0]], source[i[1]], source[i[2]], source[i[3]]));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, F128 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreStreaming(float* destination, F128 value) => value._v.StoreAlignedNonTemporal(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Fma(F128 a, F128 b, F128 c) => new(Vector128.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Add(F128 a, F128 b) => new(a._v + b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Sub(F128 a, F128 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Mul(F128 a, F128 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Div(F128 a, F128 b) => new(a._v / b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Min(F128 a, F128 b) => new(Vector128.Min(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Max(F128 a, F128 b) => new(Vector128.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Sqrt(F128 a) => new(Vector128.Sqrt(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Abs(F128 a) => new(Vector128.Abs(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Round(F128 a) => new(Vector128.Round(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Floor(F128 a) => new(Vector128.Floor(a._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 SelectGreater(F128 x, F128 y, F128 a, F128 b) =>
        new(Vector128.ConditionalSelect(Vector128.GreaterThan(x._v, y._v), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 SelectSameBits(F128 x, F128 y, F128 a, F128 b) =>
        new(Vector128.ConditionalSelect(Vector128.Equals(x._v.AsInt32(), y._v.AsInt32()).AsSingle(), a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(F128 a) => Vector128.Sum(a._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Scale2(F128 a, F128 n) =>
        // 2^n is the float whose exponent field is n + 127
        new(a._v * Vector128.ShiftLeft(Vector128.ConvertToInt32(n._v) + Vector128.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 ScaleFar(F128 a, F128 n)
    {
        F128 half = Floor(Mul(n, Create(0.5f)));
        return Scale2(Scale2(a, half), Sub(n, half));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 Exponent(F128 a) =>
        new(Vector128.ConvertToSingle(Vector128.ShiftRightLogical(a._v.AsInt32(), 23) - Vector128.Create(127)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F128 AddExponent(F128 a, F128 n) => new((a._v.AsInt32() + Vector128.ShiftLeft(n._v.AsInt32(), 23)).AsSingle());

    public static F128 LoadPartial(float* source, int count, float fill)
    {
        if (count >= Width) return Load(source);
        if (count <= 0) return Create(fill);
        float* lanes = stackalloc float[Width];
        for (int i = 0; i < Width; i++) lanes[i] = i < count ? source[i] : fill;
        return Load(lanes);
    }

    public static void StorePartial(float* destination, F128 value, int count)
    {
        if (count >= Width) { Store(destination, value); return; }
        float* lanes = stackalloc float[Width];
        Store(lanes, value);
        for (int i = 0; i < count; i++) destination[i] = lanes[i];
    }

    public static float MaxAcross(F128 a)
    {
        float m = a._v[0];
        for (int i = 1; i < Width; i++) m = MathF.Max(m, a._v[i]);
        return m;
    }
}
