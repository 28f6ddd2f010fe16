using System.Runtime.CompilerServices;

namespace KernelContrast.Devices;

/// <summary>
/// Elementary functions on vectors. Polynomials are minimax fits (Remez) in relative error. NaN gives NaN.
/// </summary>
internal static class SimdMath
{
    // ln 2 in two parts; the first has 9 significant bits, so that its products with whole numbers below 2¹⁵ are exact.
    private const float Ln2High = 0.693359375f, Ln2Low = -2.12194440e-4f;
    private const float Log2E = 1.44269504f;

    /// <summary>e^x within 2 units in the last place; 0 from −104 down, infinity from 88.73 up, subnormal where due.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Exp<T>(T x) where T : struct, ISimd<T>
    {
        // selects, since they let NaN through
        T low = T.Create(-104), high = T.Create(89);
        x = T.SelectGreater(low, x, low, T.SelectGreater(x, high, high, x));
        // x = n·ln 2 + r with |r| ≤ ln(2)/2; e^r = 1 + r + r²·q(r)
        T n = T.Round(T.Mul(x, T.Create(Log2E)));
        T r = T.Fma(n, T.Create(-Ln2High), x);
        r = T.Fma(n, T.Create(-Ln2Low), r);
        T q = T.Fma(T.Create(0.00138131448f), r, T.Create(0.00836941879f));
        q = T.Fma(q, r, T.Create(0.041668456f));
        q = T.Fma(q, r, T.Create(0.166665152f));
        q = T.Fma(q, r, T.Create(0.49999994f));
        T p = T.Add(T.Create(1), T.Fma(T.Mul(r, r), q, r));
        return T.ScaleFar(p, n);
    }

    /// <summary>ln x within 2 units in the last place; −∞ at 0, NaN below, infinity at infinity, right for subnormal x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Log<T>(T x) where T : struct, ISimd<T>
    {
        T smallestNormal = T.Create(1.17549435e-38f), one = T.Create(1);
        T scaled = T.SelectGreater(smallestNormal, x, T.Mul(x, T.Create(16777216)), x);
        T offset = T.SelectGreater(smallestNormal, x, T.Create(-24), T.Zero);
        // x = 2^n·(1 + f) with 1 + f in [√½, √2)
        T n = T.Exponent(scaled);
        T m = T.ScaleFar(scaled, T.Sub(T.Zero, n));
        T above = T.SelectGreater(m, T.Create(1.41421356f), one, T.Zero);
        m = T.SelectGreater(m, T.Create(1.41421356f), T.Mul(m, T.Create(0.5f)), m);
        n = T.Add(T.Add(n, above), offset);
        T f = T.Sub(m, one), square = T.Mul(f, f);
        // ln(1 + f) = f − f²/2 + f³·q(f)
        T q = T.Fma(T.Create(-0.0763449892f), f, T.Create(0.12761578f));
        q = T.Fma(q, f, T.Create(-0.13160181f));
        q = T.Fma(q, f, T.Create(0.142017573f));
        q = T.Fma(q, f, T.Create(-0.166233569f));
        q = T.Fma(q, f, T.Create(0.200012267f));
        q = T.Fma(q, f, T.Create(-0.250008196f));
        q = T.Fma(q, f, T.Create(0.333333313f));
        T tail = T.Fma(T.Mul(square, f), q, T.Mul(n, T.Create(Ln2Low)));
        tail = T.Fma(square, T.Create(-0.5f), tail);
        T log = T.Fma(n, T.Create(Ln2High), T.Add(f, tail));
        T infinity = T.Create(float.PositiveInfinity);
        log = T.SelectGreater(x, T.Create(float.MaxValue), infinity, log);
        log = T.SelectGreater(x, T.Zero, log, T.SelectGreater(T.Zero, x, T.Create(float.NaN), T.Sub(x, infinity)));
        return log;
    }

    /// <summary>tanh x within 3 units in the last place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Tanh<T>(T x) where T : struct, ISimd<T>
    {
        T one = T.Create(1), a = T.Abs(x), square = T.Mul(x, x);
        // near 0: x + x³·q(x²)
        T q = T.Fma(T.Create(-0.00551516423f), square, T.Create(0.0204694197f));
        q = T.Fma(q, square, T.Create(-0.0536880232f));
        q = T.Fma(q, square, T.Create(0.133308306f));
        q = T.Fma(q, square, T.Create(-0.333332598f));
        T near = T.Fma(T.Mul(square, x), q, x);
        T far = T.Sub(one, T.Div(T.Create(2), T.Add(Exp(T.Add(a, a)), one)));
        far = T.SelectGreater(T.Zero, x, T.Sub(T.Zero, far), far);
        return T.SelectGreater(T.Create(0.625f), a, near, far);
    }

    /// <summary>The error function 2/√π ∫₀ˣ e^(−t²) dt within 3 units in the last place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Erf<T>(T x) where T : struct, ISimd<T>
    {
        T one = T.Create(1), a = T.Abs(x), square = T.Mul(x, x);
        T p = T.Fma(T.Create(7.85386146e-05f), square, T.Create(-0.000801019371f));
        p = T.Fma(p, square, T.Create(0.00518832775f));
        p = T.Fma(p, square, T.Create(-0.0268538129f));
        p = T.Fma(p, square, T.Create(0.112835854f));
        p = T.Fma(p, square, T.Create(-0.37612626f));
        p = T.Fma(p, square, T.Create(1.12837911f));
        T far = T.Sub(one, Erfc(a));
        far = T.SelectGreater(T.Zero, x, T.Sub(T.Zero, far), far);
        return T.SelectGreater(one, a, T.Mul(x, p), far);
    }

    /// <summary>The normal distribution function ½·erfc(−x/√2), to 4e-7·(1 + x²) of its value, in the lower tail too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T NormalCdf<T>(T x) where T : struct, ISimd<T>
    {
        T half = T.Mul(T.Create(0.5f), Erfc(T.Mul(T.Abs(x), T.Create(0.707106781f))));
        return T.SelectGreater(x, T.Zero, T.Sub(T.Create(1), half), half);
    }

    /// <summary>1 − erf(a) for a ≥ 0 as e^(−a²)·p(t), t = 1/(1 + 0.4a); relative error about 1e-6.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static T Erfc<T>(T a) where T : struct, ISimd<T>
    {
        a = T.SelectGreater(a, T.Create(20), T.Create(20), a);
        T t = T.Div(T.Create(1), T.Fma(T.Create(0.4f), a, T.Create(1)));
        T p = T.Fma(T.Create(0.0293356739f), t, T.Create(-0.078159228f));
        p = T.Fma(p, t, T.Create(-0.0558290556f));
        p = T.Fma(p, t, T.Create(0.265537202f));
        p = T.Fma(p, t, T.Create(-0.0602385402f));
        p = T.Fma(p, t, T.Create(0.264277369f));
        p = T.Fma(p, t, T.Create(0.178884625f));
        p = T.Fma(p, t, T.Create(0.231049001f));
        p = T.Fma(p, t, T.Create(0.225118399f));
        p = T.Fma(p, t, T.Create(2.46143336e-05f));
        // a² in two parts: its rounding alone would cost 60 units in the last place at a = 10
        T square = T.Mul(a, a), rest = T.Fma(a, a, T.Sub(T.Zero, square));
        return T.Mul(T.Mul(Exp(T.Sub(T.Zero, square)), T.Sub(T.Create(1), rest)), p);
    }
}
