using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// What a kind does with a similarity, known to the JIT: the tiles are compiled once for each. Softmax kinds take
/// exponentials, SigLIP sigmoids.
/// </summary>
internal interface IContrastEpilogue
{
    /// <summary>Columns have sums and shifts of their own.</summary>
    static abstract bool TwoSided { get; }

    /// <summary>Columns of a row's own label are left out.</summary>
    static abstract bool Masked { get; }

    /// <summary>Columns of a row's own label are its positives (SupCon).</summary>
    static abstract bool Supervised { get; }

    static abstract bool Sigmoid { get; }
}

/// <summary>Softmax over rows: InfoNCE, MoCo.</summary>
internal readonly struct RowSoftmax : IContrastEpilogue
{
    public static bool TwoSided => false;
    public static bool Masked => false;
    public static bool Supervised => false;
    public static bool Sigmoid => false;
}

internal readonly struct MaskedRowSoftmax : IContrastEpilogue
{
    public static bool TwoSided => false;
    public static bool Masked => true;
    public static bool Supervised => false;
    public static bool Sigmoid => false;
}

/// <summary>Softmax over rows and over columns: NT-Xent and DCL, where both are one, and CLIP.</summary>
internal readonly struct TwoSidedSoftmax : IContrastEpilogue
{
    public static bool TwoSided => true;
    public static bool Masked => false;
    public static bool Supervised => false;
    public static bool Sigmoid => false;
}

internal readonly struct MaskedTwoSidedSoftmax : IContrastEpilogue
{
    public static bool TwoSided => true;
    public static bool Masked => true;
    public static bool Supervised => false;
    public static bool Sigmoid => false;
}

/// <summary>SupCon.</summary>
internal readonly struct SupervisedSoftmax : IContrastEpilogue
{
    public static bool TwoSided => true;
    public static bool Masked => false;
    public static bool Supervised => true;
    public static bool Sigmoid => false;
}

/// <summary>SigLIP.</summary>
internal readonly struct PairSigmoid : IContrastEpilogue
{
    public static bool TwoSided => false;
    public static bool Masked => false;
    public static bool Supervised => false;
    public static bool Sigmoid => true;
}

internal readonly struct MaskedPairSigmoid : IContrastEpilogue
{
    public static bool TwoSided => false;
    public static bool Masked => true;
    public static bool Supervised => false;
    public static bool Sigmoid => true;
}

/// <summary>The functions of the epilogues, of logits in base 2: y = x·log₂e.</summary>
internal static class ContrastMath
{
    private const float Ln2 = 0.69314718f;

    /// <summary>2^y for y in [−126, 126] to 2 units in the last place; NaN (of payload zero) stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Exp2<T>(T y) where T : struct, ISimd<T>
    {
        // Adding 1.5·2²³ rounds to a whole number, which then stands in the lowest bits, ready to be added to the exponent.
        T magic = T.Create(12582912);
        T n = T.Add(y, magic);
        T f = T.Sub(y, T.Sub(n, magic));
        T p = T.Fma(T.Create(1.546144470e-04f), f, T.Create(1.340042818e-03f));
        p = T.Fma(p, f, T.Create(9.618056679e-03f));
        p = T.Fma(p, f, T.Create(5.550327227e-02f));
        p = T.Fma(p, f, T.Create(2.402265092e-01f));
        p = T.Fma(p, f, T.Create(6.931472067e-01f));
        p = T.Fma(p, f, T.Create(1));
        return T.AddExponent(p, n);
    }

    /// <summary>log(1 + e^x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Softplus<T>(T y) where T : struct, ISimd<T>
    {
        return Softplus(y, Exp2(T.Max(T.Sub(T.Zero, T.Abs(y)), T.Create(-126))));
    }

    /// <param name="y">x·log₂e.</param>
    /// <param name="t">e^−|x|.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Softplus<T>(T y, T t) where T : struct, ISimd<T>
    {
        // log(1 + t) = 2·atanh(t/(2 + t)), a polynomial in its square
        T u = T.Div(t, T.Add(t, T.Create(2))), v = T.Mul(u, u);
        T p = T.Fma(T.Create(0.140788892f), v, T.Create(0.139825789f));
        p = T.Fma(p, v, T.Create(0.200122976f));
        p = T.Fma(p, v, T.Create(0.333331608f));
        p = T.Fma(p, v, T.Create(1));
        return T.Fma(T.Max(y, T.Zero), T.Create(Ln2), T.Mul(T.Add(u, u), p));
    }

    /// <summary>Both of one exponential: log(1 + e^x), and 1/(1 + e^(−x)), to the bit what each function alone gives.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T SoftplusAndSigmoid<T>(T y, out T sigmoid) where T : struct, ISimd<T>
    {
        T one = T.Create(1), t = Exp2(T.Max(T.Sub(T.Zero, T.Abs(y)), T.Create(-126)));
        sigmoid = T.Div(T.SelectGreater(y, T.Zero, one, t), T.Add(one, t));
        return Softplus(y, t);
    }

    /// <summary>1/(1 + e^(−x)).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Sigmoid<T>(T y) where T : struct, ISimd<T>
    {
        T one = T.Create(1), t = Exp2(T.Max(T.Sub(T.Zero, T.Abs(y)), T.Create(-126)));
        return T.Div(T.SelectGreater(y, T.Zero, one, t), T.Add(one, t));
    }

    /// <summary>log(1 + e^x).</summary>
    internal static double Softplus(double x) => Math.Max(x, 0) + Log1P(Math.Exp(-Math.Abs(x)));

    /// <summary>log(1 + t) for t ≥ 0 that keeps the digits of a small t, where .NET's LogP1 is log(1 + t) as written.</summary>
    /// <remarks>Goldberg: "What every computer scientist should know about floating-point arithmetic", 1991, theorem 4.</remarks>
    internal static double Log1P(double t)
    {
        double one = 1 + t;
        return one == 1 || double.IsInfinity(t) ? t : Math.Log(one) * (t / (one - 1));
    }

    /// <summary>1/(1 + e^(−x)).</summary>
    internal static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
}
