namespace KernelContrast.Cases;

/// <summary>
/// The float32 cases of the ops that compute in bfloat16, again in bfloat16: products under <see cref="Autocast"/>, with
/// float32 inputs, and the ops between them on bfloat16 tensors. The bound is <see cref="OpCase.NaiveErrors"/> times the
/// error of the same op with its inputs, its result and its upstream gradient rounded and all else exact.
/// </summary>
internal sealed class BFloat16Cases : ICaseSource
{
    private const long MostElements = 12_000;

    public IEnumerable<OpCase> Cases()
    {
        yield return Cast();
        foreach (OpCase test in Products()) yield return Product(test, Precision.BFloat16, "bfloat16", Rounded, roundsResult: true);
        ICaseSource[] passing = [new ReluCases(), new PoolCases(), new BatchNormCases(), new ElementwiseCases()];
        string[] ops = ["relu", "max-pool2d", "avg-pool2d", "global-avg-pool", "batch-norm", "add"];
        foreach (OpCase test in passing.SelectMany(s => s.Cases()).Where(c => ops.Contains(c.Op) && !c.BenchmarkOnly && Elements(c) <= MostElements))
            // a mean of 10,000 leaves bfloat16 no digits for what differs
            if (!test.Name.StartsWith("large mean", StringComparison.Ordinal)) yield return PassingOn(test);
    }

    private static long Elements(OpCase test) => test.Inputs.Sum(i => i.Shape.Count);

    /// <summary>Of Linear, MatMul and Conv2d: the float32 ones, and sizes that fill the tensor cores' tiles.</summary>
    internal static IEnumerable<OpCase> Products()
    {
        ICaseSource[] sources = [new MatMulCases(), new LinearCases(), new Conv2dCases()];
        foreach (OpCase test in sources.SelectMany(s => s.Cases()).Where(c => !c.BenchmarkOnly && Elements(c) <= MostElements)) yield return test;
        // The float32 cases end within a chunk of eight, most of them; these are of whole chunks.
        foreach (bool a in new[] { false, true })
            foreach (bool b in new[] { false, true })
                yield return MatMulCases.Case($"whole chunks, a {(a ? "" : "not ")}transposed, b {(b ? "" : "not ")}transposed", 72, 80, 104, a, b, 50);
        yield return MatMulCases.Case("whole chunks, less than a step of the depth", 8, 16, 24, false, true, 51);
        yield return MatMulCases.Case("whole chunks, exactly three steps", 64, 64, 96, true, false, 52);
        yield return Conv2dCases.Case("whole chunks, 3×3", 2, 16, 7, 6, 24, 3, 3, 1, 1, true, 53);
        yield return Conv2dCases.Case("whole chunks, 3×3, stride 2", 3, 8, 9, 8, 72, 3, 3, 2, 1, false, 54);
        yield return Conv2dCases.Case("whole chunks, 1×1, stride 2", 2, 40, 6, 5, 16, 1, 1, 2, 0, false, 55);
        yield return Conv2dCases.Case("whole chunks, several stripes of pixels", 5, 8, 8, 8, 8, 3, 3, 1, 1, false, 56);
    }

    /// <summary>A product under <see cref="Autocast"/>; the naive implementation rounds inputs and upstream gradient, and the result if that is stored so.</summary>
    internal static OpCase Product(OpCase test, Precision precision, string name, Func<double, double> round, bool roundsResult)
    {
        double[] Each(double[] x) => Array.ConvertAll(x, v => round(v));
        return new()
        {
            Op = test.Op,
            Name = $"{test.Name}, {name}",
            Kernels = [.. test.Kernels, "cast"],
            Precision = precision,
            Inputs = test.Inputs,
            Run = t =>
            {
                using (Autocast.To(precision)) return test.Run(t).To(DType.Float32);
            },
            Reference = test.Reference,
            ReferenceGradient = test.ReferenceGradient,
            Naive = x =>
            {
                double[] y = test.Reference([.. x.Select(Each)]);
                return roundsResult ? Each(y) : y;
            },
            NaiveGradient = (x, cotangent) => test.ReferenceGradient!([.. x.Select(Each)], Each(cotangent)),
        };
    }

    /// <summary>Those inputs that have the first one's shape are bfloat16 tensors; the numbers of all are exact in it.</summary>
    private static OpCase PassingOn(OpCase test)
    {
        bool IsHalf(int input) => test.Op == "add" || test.Inputs[input].Shape == test.Inputs[0].Shape;
        bool distinct = test is { Op: "max-pool2d", ReferenceGradient: null };
        CaseInput[] inputs = [.. test.Inputs.Select(i => new CaseInput { Shape = i.Shape, Values = distinct ? Distinct(i.Values) : Rounded(i.Values), Differentiable = i.Differentiable })];
        Func<double[][], double[], double[]?[]>? gradient = test.ReferenceGradient ?? Gradient(test);
        return new()
        {
            Op = test.Op,
            Name = test.Name + ", bfloat16",
            Kernels = [.. test.Kernels, "cast"],
            Precision = Precision.BFloat16,
            OnCpu = false,
            Inputs = inputs,
            Run = t => test.Run([.. t.Select((x, i) => IsHalf(i) ? x.To(DType.BFloat16) : x)]).To(DType.Float32),
            Reference = test.Reference,
            ReferenceGradient = gradient,
            CheckGradient = gradient is not null,
            Naive = x => Rounded(test.Reference(x)),
            NaiveGradient = gradient is null ? null : (x, cotangent) => [.. gradient(x, Rounded(cotangent)).Select((g, i) => g is not null && IsHalf(i) ? Rounded(g) : g)],
        };
    }

    /// <summary>The gradients of cases that leave them to finite differences, which rounding would spoil.</summary>
    private static Func<double[][], double[], double[]?[]>? Gradient(OpCase test) => test.Op switch
    {
        "relu" => (x, g) => [[.. g.Select((v, i) => x[0][i] > 0 ? v : 0)]],
        "global-avg-pool" => (x, g) => [[.. x[0].Select((_, i) => g[i * g.Length / x[0].Length] * g.Length / x[0].Length)]],
        "max-pool2d" => MaxPool(test),
        _ => null,
    };

    /// <summary>Of windows whose values differ: each gradient goes to where the value came from.</summary>
    private static Func<double[][], double[], double[]?[]> MaxPool(OpCase test) => (x, g) =>
    {
        double[] y = test.Reference(x), gradient = new double[x[0].Length];
        for (int o = 0; o < y.Length; o++) gradient[Array.IndexOf(x[0], y[o])] += g[o];
        return [gradient];
    };

    private static OpCase Cast() => new()
    {
        Op = "cast",
        Name = "to bfloat16 and back",
        Precision = Precision.BFloat16,
        Inputs =
        [
            CaseInput.Of(new(13), 0, -0.0, 1, -1, 1 + 1 / 256.0, 1 + 3 / 256.0, 1 + 1 / 256.0 + 1 / 65536.0, -1 - 1 / 256.0, float.MaxValue, 1e-40, double.NaN,
                double.PositiveInfinity, double.NegativeInfinity),
        ],
        Run = t => t[0].To(DType.BFloat16).To(DType.Float32),
        Reference = x => Rounded(x[0]),
        Forward = new(0, 0),
        ReferenceGradient = (_, g) => [Rounded(g)],
        Gradient = new(0, 0),
    };

    /// <summary>Different numbers in the same order of size, which rounding would have made equal: bfloat16's one after the other.</summary>
    private static double[] Distinct(double[] x)
    {
        var y = new double[x.Length];
        int rank = 0;
        foreach (int i in Enumerable.Range(0, x.Length).OrderBy(i => x[i])) y[i] = BitConverter.UInt32BitsToSingle((uint)(0x3800 + rank++) << 16);
        return y;
    }

    private static double[] Rounded(double[] x) => Array.ConvertAll(x, Rounded);

    /// <summary>To 8 bits of significand, to nearest and ties to even, with float32's exponents: by scaling, not by bits.</summary>
    internal static double Rounded(double x)
    {
        if (x == 0 || !double.IsFinite(x)) return x;
        double unit = Math.Pow(2, Math.Max(Math.ILogB(x), -126) - 7), rounded = Math.Round(x / unit, MidpointRounding.ToEven) * unit;
        return Math.Abs(rounded) >= Math.Pow(2, 128) ? Math.Sign(x) * double.PositiveInfinity : rounded;
    }
}
