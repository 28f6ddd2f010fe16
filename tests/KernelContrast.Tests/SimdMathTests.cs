using KernelContrast.Cases;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>The vector functions against double precision over the whole range, at every width.</summary>
[TestFixture]
internal sealed unsafe class SimdMathTests
{
    private static IEnumerable<int> Widths() => new[] { 128, 256, 512 }.Where(b => b <= Simd.HardwareBits);

    [Test]
    public void Exp_is_within_2_ulp_over_its_whole_range([ValueSource(nameof(Widths))] int bits)
    {
        Assert.That(WorstUlp(bits, Function.Exp, Math.Exp, Sweep(-106, 90)), Is.LessThanOrEqualTo(2));
        Assert.That(At(bits, Function.Exp, float.NegativeInfinity, float.PositiveInfinity, float.NaN, 0, -1e30f, 1e30f),
            Is.EqualTo(new[] { 0, float.PositiveInfinity, float.NaN, 1, 0, float.PositiveInfinity }));
    }

    [Test]
    public void Log_is_within_2_ulp_from_subnormals_up([ValueSource(nameof(Widths))] int bits)
    {
        // every 1009th bit pattern of the positive floats, and the neighbourhood of 1
        var x = new List<float>();
        for (int i = 1; i < 0x7f800000; i += 1009 * 64) x.Add(BitConverter.Int32BitsToSingle(i));
        for (int i = -2000; i < 2000; i++) x.Add(BitConverter.Int32BitsToSingle(0x3f800000 + i * 37));
        Assert.That(WorstUlp(bits, Function.Log, Math.Log, x), Is.LessThanOrEqualTo(2));
        Assert.That(At(bits, Function.Log, 0, -1, float.NaN, float.PositiveInfinity, 1, float.NegativeInfinity),
            Is.EqualTo(new[] { float.NegativeInfinity, float.NaN, float.NaN, float.PositiveInfinity, 0, float.NaN }));
    }

    [Test]
    public void Tanh_is_within_3_ulp([ValueSource(nameof(Widths))] int bits)
    {
        Assert.That(WorstUlp(bits, Function.Tanh, Math.Tanh, [.. Sweep(-12, 12), .. Tiny()]), Is.LessThanOrEqualTo(3));
        Assert.That(At(bits, Function.Tanh, float.NegativeInfinity, float.PositiveInfinity, float.NaN, 0),
            Is.EqualTo(new[] { -1, 1, float.NaN, 0 }));
    }

    [Test]
    public void Erf_is_within_3_ulp([ValueSource(nameof(Widths))] int bits)
    {
        Assert.That(WorstUlp(bits, Function.Erf, ReferenceFunctions.Erf, [.. Sweep(-6, 6), .. Tiny()]), Is.LessThanOrEqualTo(3));
        Assert.That(At(bits, Function.Erf, float.NegativeInfinity, float.PositiveInfinity, float.NaN, 0),
            Is.EqualTo(new[] { -1, 1, float.NaN, 0 }));
    }

    [Test]
    public void Normal_distribution_function_is_relatively_right_in_the_lower_tail([ValueSource(nameof(Widths))] int bits)
    {
        float[] x = [.. Sweep(-12.5f, 6)];
        float[] y = At(bits, Function.NormalCdf, x);
        double worst = x.Zip(y, (a, b) => Math.Abs(b / ReferenceFunctions.NormalCdf(a) - 1) / (1 + (double)a * a)).Max();
        Assert.That(worst, Is.LessThan(4e-7));
        Assert.That(At(bits, Function.NormalCdf, float.NegativeInfinity, float.PositiveInfinity, float.NaN, 0),
            Is.EqualTo(new[] { 0, 1, float.NaN, 0.5f }));
    }

    /// <summary>The losses' own, of logits in base 2.</summary>
    [Test]
    public void Functions_of_the_losses_epilogues_are_within_a_few_ulp([ValueSource(nameof(Widths))] int bits)
    {
        Assert.That(WorstUlp(bits, Function.Exp2, y => Math.Pow(2, y), Sweep(-126, 126)), Is.LessThanOrEqualTo(2), "exp2");
        Assert.That(WorstUlp(bits, Function.Softplus, y => ContrastMath.Softplus(y * Math.Log(2)), Sweep(-125, 126)), Is.LessThanOrEqualTo(4), "softplus");
        Assert.That(WorstUlp(bits, Function.Sigmoid, y => ContrastMath.Sigmoid(y * Math.Log(2)), Sweep(-125, 126)), Is.LessThanOrEqualTo(4), "sigmoid");
        foreach (Function f in new[] { Function.Exp2, Function.Softplus, Function.Sigmoid }) Assert.That(At(bits, f, float.NaN, 0)[0], Is.NaN, f.ToString());
    }

    private enum Function { Exp, Log, Tanh, Erf, NormalCdf, Exp2, Softplus, Sigmoid }

    private static IEnumerable<float> Sweep(float low, float high)
    {
        const int Steps = 100_003;
        for (int i = 0; i <= Steps; i++) yield return (float)(low + (high - low) * (double)i / Steps);
    }

    private static IEnumerable<float> Tiny()
    {
        for (float x = 1; x > 0; x *= 0.37f) { yield return x; yield return -x; }
    }

    private static double WorstUlp(int bits, Function f, Func<double, double> reference, IEnumerable<float> values)
    {
        float[] x = [.. values];
        float[] y = At(bits, f, x);
        double worst = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double exact = reference(x[i]);
            float nearest = (float)exact;
            double ulp = Math.Max(Math.Abs(MathF.BitIncrement(nearest) - (double)nearest), float.Epsilon);
            double error = float.IsInfinity(nearest) ? (y[i] == nearest ? 0 : double.PositiveInfinity) : Math.Abs(y[i] - exact) / ulp;
            if (!(error <= worst)) worst = error;
        }
        return worst;
    }

    private static float[] At(int bits, Function f, params float[] x) => bits switch
    {
        512 => At<F512>(f, x),
        256 => At<F256>(f, x),
        _ => At<F128>(f, x),
    };

    private static float[] At<T>(Function f, float[] x) where T : struct, ISimd<T>
    {
        var y = new float[x.Length];
        fixed (float* px = x, py = y)
            for (int i = 0; i < x.Length; i += T.Width)
            {
                int count = Math.Min(T.Width, x.Length - i);
                T v = T.LoadPartial(px + i, count, 0);
                T.StorePartial(py + i, f switch
                {
                    Function.Exp => SimdMath.Exp(v),
                    Function.Log => SimdMath.Log(v),
                    Function.Tanh => SimdMath.Tanh(v),
                    Function.Erf => SimdMath.Erf(v),
                    Function.Exp2 => ContrastMath.Exp2(v),
                    Function.Softplus => ContrastMath.Softplus(v),
                    Function.Sigmoid => ContrastMath.Sigmoid(v),
                    _ => SimdMath.NormalCdf(v),
                }, count);
            }
        return y;
    }
}
