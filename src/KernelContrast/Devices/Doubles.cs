using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KernelContrast.Devices;

/// <summary>A vector of doubles, half as many as an <see cref="ISimd{T}"/> of its width has floats: what few places need where float32 loses too much.</summary>
internal unsafe interface IDoubles<D> where D : struct, IDoubles<D>
{
    /// <summary>Doubles per vector.</summary>
    static abstract int Width { get; }
    static abstract D Zero { get; }
    static abstract D Create(double value);
    static abstract D Load(double* source);
    static abstract void Store(double* destination, D value);
    /// <summary>a·b + c, fused where the hardware has it.</summary>
    static abstract D Fma(D a, D b, D c);
    static abstract D Sub(D a, D b);
    static abstract D Mul(D a, D b);
    /// <summary>NaN stays.</summary>
    static abstract D Max(D a, D b);
    /// <summary>Two vectors of doubles from as many floats.</summary>
    static abstract (D Low, D High) Widen(float* source);
    /// <summary>Rounds two vectors to float.</summary>
    static abstract void StoreNarrow(float* destination, D low, D high);
}

/// <summary>8 doubles in one 512-bit register.</summary>
internal readonly unsafe struct D512 : IDoubles<D512>
{
    private readonly Vector512<double> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private D512(Vector512<double> v) => _v = v;

    public static int Width => 8;

    public static D512 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector512<double>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Create(double value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Load(double* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, D512 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Fma(D512 a, D512 b, D512 c) => new(Vector512.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Sub(D512 a, D512 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Mul(D512 a, D512 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D512 Max(D512 a, D512 b) => new(Vector512.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (D512 Low, D512 High) Widen(float* source)
    {
        (Vector512<double> low, Vector512<double> high) = Vector512.Widen(Vector512.Load(source));
        return (new(low), new(high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNarrow(float* destination, D512 low, D512 high) => Vector512.Narrow(low._v, high._v).Store(destination);
}

/// <summary>4 doubles in one 256-bit register.</summary>
internal readonly unsafe struct D256 : IDoubles<D256>
{
    private readonly Vector256<double> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private D256(Vector256<double> v) => _v = v;

    public static int Width => 4;

    public static D256 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector256<double>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Create(double value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Load(double* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, D256 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Fma(D256 a, D256 b, D256 c) => new(Vector256.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Sub(D256 a, D256 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Mul(D256 a, D256 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D256 Max(D256 a, D256 b) => new(Vector256.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (D256 Low, D256 High) Widen(float* source)
    {
        (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.Load(source));
        return (new(low), new(high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNarrow(float* destination, D256 low, D256 high) => Vector256.Narrow(low._v, high._v).Store(destination);
}

/// <summary>2 doubles in one 128-bit register.</summary>
internal readonly unsafe struct D128 : IDoubles<D128>
{
    private readonly Vector128<double> _v;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private D128(Vector128<double> v) => _v = v;

    public static int Width => 2;

    public static D128 Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(Vector128<double>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Create(double value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Load(double* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(double* destination, D128 value) => value._v.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Fma(D128 a, D128 b, D128 c) => new(Vector128.MultiplyAddEstimate(a._v, b._v, c._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Sub(D128 a, D128 b) => new(a._v - b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Mul(D128 a, D128 b) => new(a._v * b._v);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static D128 Max(D128 a, D128 b) => new(Vector128.Max(a._v, b._v));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (D128 Low, D128 High) Widen(float* source)
    {
        (Vector128<double> low, Vector128<double> high) = Vector128.Widen(Vector128.Load(source));
        return (new(low), new(high));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNarrow(float* destination, D128 low, D128 high) => Vector128.Narrow(low._v, high._v).Store(destination);
}
