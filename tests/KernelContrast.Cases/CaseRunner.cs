using KernelContrast.Devices;

namespace KernelContrast.Cases;

/// <summary>What a check of a case found.</summary>
/// <param name="Problem">Null when it holds; else one line saying what and where.</param>
/// <param name="WorstRatio">The largest error as a share of its bound.</param>
public readonly record struct CaseResult(string? Problem, double WorstRatio);

/// <summary>Runs cases: forward comparison and gradient check, on poisoned and guarded memory.</summary>
public static class CaseRunner
{
    private const double Step = 1e-5;

    /// <summary>Up to this many input elements, every single partial derivative is checked.</summary>
    private const int FullJacobianElements = 160;

    /// <summary>Every case of this assembly, in the order of op and name.</summary>
    public static IReadOnlyList<OpCase> AllCases { get; } =
    [
        .. typeof(CaseRunner).Assembly.GetTypes()
            .Where(t => t.IsClass && !t.IsAbstract && typeof(ICaseSource).IsAssignableFrom(t))
            .SelectMany(t => ((ICaseSource)Activator.CreateInstance(t)!).Cases())
            .OrderBy(c => c.Op, StringComparer.Ordinal),
    ];

    /// <summary>A case's inputs on a device; the caller disposes them.</summary>
    public static Tensor[] CreateInputs(OpCase test, Device device) => [.. test.Inputs.Select(i => i.ToTensor(device))];

    /// <summary>The op's output on a device.</summary>
    public static float[] Output(OpCase test, Device device)
    {
        using var scope = new TensorScope();
        using var unrecorded = new NoGrad();
        return test.Run(CreateInputs(test, device)).ToArray();
    }

    /// <summary>Compares the op's output with the reference.</summary>
    public static CaseResult Compare(OpCase test, Device device) => Guarded(test, device, () =>
    {
        using var scope = new TensorScope();
        Tensor[] inputs = CreateInputs(test, device);
        using var unrecorded = new NoGrad();
        Tensor output = test.Run(inputs);
        string? changed = ChangedInput(test, inputs);
        if (changed is not null) return new(changed, double.PositiveInfinity);
        double[] expected = test.Reference(ReferenceInputs(test));
        Tolerance tolerance = test.Naive is { } naive ? ErrorOf(test, naive(ReferenceInputs(test)), expected) : test.Forward;
        return Compare("output", output.ToArray(), expected, null, tolerance);
    });

    /// <summary>Checks the gradients under a random upstream gradient.</summary>
    public static CaseResult CheckGradient(OpCase test, Device device) => Guarded(test, device, () =>
    {
        using var scope = new TensorScope();
        Tensor[] inputs = CreateInputs(test, device);
        Tensor output = test.Run(inputs);
        var random = new PhiloxStream(seed: 1234, stream: 5);
        var cotangent = new double[output.Count];
        for (int i = 0; i < cotangent.Length; i++) cotangent[i] = random.NextNormal();
        using Tensor upstream = Tensor.From<float>(Array.ConvertAll(cotangent, c => (float)c), output.Shape, device);
        output.Backward(upstream);
        string? changed = ChangedInput(test, inputs);
        if (changed is not null) return new(changed, double.PositiveInfinity);

        var gradients = new float[]?[inputs.Length];
        for (int i = 0; i < inputs.Length; i++)
        {
            if (!inputs[i].RequiresGrad) continue;
            if (inputs[i].Grad is not { } grad) return new($"input {i} got no gradient", double.PositiveInfinity);
            gradients[i] = grad.ToArray();
        }
        cotangent = Array.ConvertAll(cotangent, c => (double)(float)c);
        return test.ReferenceGradient is not null
            ? CompareAnalytic(test, gradients, cotangent)
            : CompareFiniteDifferences(test, gradients, cotangent, ref random);
    });

    private static CaseResult CompareAnalytic(OpCase test, float[]?[] gradients, double[] cotangent)
    {
        double[][] x = ReferenceInputs(test);
        double[]?[] expected = test.ReferenceGradient!(x, cotangent);
        double[]?[]? scales = test.GradientScale?.Invoke(x, cotangent);
        double[]?[]? naive = test.NaiveGradient?.Invoke(ReferenceInputs(test), cotangent);
        double worst = 0;
        for (int i = 0; i < gradients.Length; i++)
        {
            if (gradients[i] is not { } actual) continue;
            CaseResult result = Compare($"gradient of input {i}", actual, expected[i]!, scales?[i],
                naive is null ? test.Gradient : ErrorOf(test, naive[i]!, expected[i]!));
            if (result.Problem is not null) return result;
            worst = Math.Max(worst, result.WorstRatio);
        }
        return new(null, worst);
    }

    /// <summary>The bound that a naive implementation's error sets: some times its largest.</summary>
    private static Tolerance ErrorOf(OpCase test, double[] naive, double[] exact)
    {
        double worst = 0;
        for (int i = 0; i < exact.Length; i++)
            if (double.IsFinite(exact[i])) worst = Math.Max(worst, Math.Abs(naive[i] - exact[i]));
        return new(0, 0, test.NaiveErrors * worst);
    }

    private static CaseResult CompareFiniteDifferences(OpCase test, float[]?[] gradients, double[] cotangent, ref PhiloxStream random)
    {
        long elements = test.Inputs.Where((_, i) => gradients[i] is not null).Sum(i => i.Shape.Count);
        double worst = 0;
        if (elements <= FullJacobianElements)
        {
            for (int i = 0; i < gradients.Length; i++)
            {
                if (gradients[i] is not { } actual) continue;
                var expected = new double[actual.Length];
                for (int e = 0; e < expected.Length; e++)
                    expected[e] = Derivative(test, cotangent, (input, element) => input == i && element == e ? 1 : 0);
                CaseResult result = Compare($"gradient of input {i}", actual, expected, null, test.Gradient);
                if (result.Problem is not null) return result;
                worst = Math.Max(worst, result.WorstRatio);
            }
            return new(null, worst);
        }
        // Along random directions, dense and sparse; one input at a time and together.
        for (int trial = 0; trial < 12; trial++)
        {
            bool sparse = trial % 2 == 1;
            int only = trial < 2 * gradients.Length ? trial / 2 : -1;
            if (only >= 0 && gradients[only] is null) continue;
            var tangents = new double[gradients.Length][];
            double actual = 0, size = 0;
            for (int i = 0; i < gradients.Length; i++)
            {
                tangents[i] = new double[test.Inputs[i].Values.Length];
                if (gradients[i] is not { } gradient || (only >= 0 && only != i)) continue;
                for (int e = 0; e < gradient.Length; e++)
                {
                    if (sparse && random.NextInt32(Math.Max(1, gradient.Length / 8)) != 0) continue;
                    double t = random.NextNormal();
                    tangents[i][e] = t;
                    actual += t * gradient[e];
                    size += t * t * gradient[e] * gradient[e];
                }
            }
            double expected = Derivative(test, cotangent, (input, element) => tangents[input][element]);
            double bound = test.Gradient.Relative * Math.Abs(expected) + test.Gradient.Absolute * Math.Sqrt(size) + 1e-7 * test.Gradient.Absolute;
            double ratio = Math.Abs(actual - expected) / bound;
            if (!(ratio <= 1))
                return new($"gradient along direction {trial}{(only >= 0 ? $" of input {only}" : "")}: {actual:G9}, expected {expected:G9} ± {bound:G2}", ratio);
            worst = Math.Max(worst, ratio);
        }
        return new(null, worst);
    }

    /// <summary>d/dh of cotangent · reference(inputs + h · tangent) at 0, by a central difference of fourth order.</summary>
    private static double Derivative(OpCase test, double[] cotangent, Func<int, int, double> tangent)
    {
        double At(double h)
        {
            double[][] x = ReferenceInputs(test);
            for (int i = 0; i < x.Length; i++)
            {
                if (!test.Inputs[i].Differentiable) continue;
                for (int e = 0; e < x[i].Length; e++) x[i][e] += h * tangent(i, e);
            }
            double[] y = test.Reference(x);
            double sum = 0;
            for (int i = 0; i < y.Length; i++) sum += cotangent[i] * y[i];
            return sum;
        }
        return (8 * (At(Step) - At(-Step)) - (At(2 * Step) - At(-2 * Step))) / (12 * Step);
    }

    /// <summary>Compares element by element; a NaN on either side alone is a difference, as is an infinity of another sign.</summary>
    public static CaseResult Compare(string what, ReadOnlySpan<float> actual, double[] expected, double[]? scale, Tolerance tolerance)
    {
        if (actual.Length != expected.Length)
            return new($"{what} has {actual.Length} elements, expected {expected.Length}", double.PositiveInfinity);
        double sum = 0;
        int finite = 0;
        foreach (double e in expected)
            if (double.IsFinite(e)) { sum += e * e; finite++; }
        double rms = finite == 0 ? 0 : Math.Sqrt(sum / finite);
        double worst = 0;
        string? problem = null;
        int wrong = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double a = actual[i], e = expected[i];
            double ratio;
            if (double.IsNaN(a) || double.IsNaN(e)) ratio = double.IsNaN(a) == double.IsNaN(e) ? 0 : double.PositiveInfinity;
            else if (double.IsInfinity(e) || double.IsInfinity(a)) ratio = a == e ? 0 : double.PositiveInfinity;
            else
            {
                double bound = tolerance.Relative * Math.Max(Math.Abs(e), scale?[i] ?? 0) + tolerance.Absolute * (scale is null ? rms : 0);
                ratio = a == e ? 0 : Math.Abs(a - e) / Math.Max(bound, tolerance.Floor);
            }
            if (!(ratio <= 1)) wrong++;
            if (!(ratio <= worst))
            {
                worst = ratio;
                if (!(ratio <= 1)) problem = $"{what}[{i}] is {a:G9}, expected {e:G9}";
            }
        }
        return new(problem is null ? null : $"{problem} ({wrong} of {actual.Length} wrong)", worst);
    }

    private static double[][] ReferenceInputs(OpCase test) => [.. test.Inputs.Select(i => (double[])i.Values.Clone())];

    private static string? ChangedInput(OpCase test, Tensor[] inputs)
    {
        for (int i = 0; i < inputs.Length; i++)
        {
            if (inputs[i].Type != DType.Float32) continue;
            float[] now = inputs[i].ToArray();
            for (int e = 0; e < now.Length; e++)
                if (!now[e].Equals((float)test.Inputs[i].Values[e])) return $"the op overwrote input {i} at element {e}";
        }
        return null;
    }

    private static CaseResult Guarded(OpCase test, Device device, Func<CaseResult> check)
    {
        if (device is CudaDevice cuda)
        {
            // Exact allocations: the driver then sees every bound, and fresh memory is NaN on the emulated one.
            cuda.Pool.Exact = true;
            try { return check(); }
            finally { cuda.Pool.Exact = false; }
        }
        var cpu = (CpuDevice)device;
        cpu.Pool.Trim();
        cpu.Pool.TakeGuardViolations();
        cpu.Pool.Checked = true;
        try
        {
            CaseResult result = check();
            int violations = cpu.Pool.TakeGuardViolations();
            return violations == 0 ? result : new($"{test}: wrote outside of {violations} tensors", double.PositiveInfinity);
        }
        finally { cpu.Pool.Checked = false; }
    }
}
