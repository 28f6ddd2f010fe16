using System.Collections.Concurrent;
using System.Reflection;
using System.Text.RegularExpressions;
using KernelContrast.Cases;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>
/// Every op case on the CPU at every vector width this machine has and, for ops with CUDA kernels, on the emulated
/// driver: in two orders of threads, and in all four and in checked mode for small cases of kernels whose threads exchange
/// values.
/// </summary>
[TestFixture]
internal sealed class OpCaseTests
{
    private const long SmallCaseElements = 4096;

    /// <summary>Set by <c>./build.sh test --full</c>: every case in every order of threads and in checked mode.</summary>
    private static readonly bool Thorough = Environment.GetEnvironmentVariable("KERNELCONTRAST_TEST_THOROUGH") == "1";

    private static readonly ConcurrentDictionary<string, int> Ran = new();

    private static IEnumerable<TestCaseData> Forward() => Grid("forward", _ => true);

    private static IEnumerable<TestCaseData> Gradients() => Grid("gradient", c => c.CheckGradient);

    [TestCaseSource(nameof(Forward))]
    public void Output_matches_the_double_reference(OpCase test, string target) => On(target, device => CaseRunner.Compare(test, device));

    [TestCaseSource(nameof(Gradients))]
    public void Gradient_matches_under_a_random_upstream_gradient(OpCase test, string target) => On(target, device => CaseRunner.CheckGradient(test, device));

    private static IEnumerable<TestCaseData> OnBoth() =>
        from test in CaseRunner.AllCases
        where !test.BenchmarkOnly && test.OnCpu && test.Precision == Precision.Float32 && HasCudaKernels(test) && test.Inputs.Sum(i => i.Shape.Count) <= SmallCaseElements
        select new TestCaseData(test).SetArgDisplayNames("against cpu", test.ToString(), TestDevice.CudaName);

    /// <summary>Both may err by the case's tolerance, so between them lies twice that.</summary>
    [TestCaseSource(nameof(OnBoth))]
    public void Output_on_cuda_is_the_cpus(OpCase test)
    {
        double[] expected = Array.ConvertAll(CaseRunner.Output(test, Device.Cpu), x => (double)x);
        Tolerance twice = new(2 * test.Forward.Relative, 2 * test.Forward.Absolute, 2 * test.Forward.Floor);
        Assert.That(CaseRunner.Compare("output", CaseRunner.Output(test, TestDevice.Cuda), expected, null, twice).Problem, Is.Null);
    }

    [Test]
    public void Every_op_with_cuda_kernels_has_a_case_that_runs_on_them()
    {
        string[] withKernels = [.. CudaOps.Names];
        Assert.That(withKernels, Is.Not.Empty);
        Assert.That(withKernels, Is.SubsetOf(CaseRunner.AllCases.Where(c => !c.BenchmarkOnly).SelectMany(c => c.Kernels).Select(CudaOps.NameOf).Distinct()));
    }

    /// <summary>So that the rule that finds them is seen to find both kinds.</summary>
    [Test]
    public void Ops_whose_threads_exchange_values_are_known_by_their_kernels()
    {
        Assert.That(CudaOps.Exchanging, Is.SupersetOf(new[] { "ntxent", "softmax", "sum", "matmul", "conv2d", "batchnorm", "transpose", "larsstep" }));
        Assert.That(CudaOps.Exchanging, Has.No.Member("relu").And.No.Member("dropout").And.No.Member("concat").And.No.Member("adamwstep"));
    }

    [OneTimeTearDown]
    public void Print_how_many_ran_on_each_device()
    {
        if (!Ran.IsEmpty)
            TestContext.Progress.WriteLine("Op cases run: " + string.Join(", ", Ran.OrderBy(r => r.Key, StringComparer.Ordinal).Select(r => $"{r.Value} on {r.Key}")));
    }

    /// <param name="target"><c>cpu-BITS</c>, or a CUDA device's name, of the emulated one with <c>-ORDER-COPIES</c> or <c>-checked</c>.</param>
    /// <param name="run">Runs the case on a device.</param>
    private static void On(string target, Func<Device, CaseResult> run)
    {
        string cuda = TestDevice.CudaName;
        CaseResult result;
        if (target == cuda) result = run(TestDevice.Cuda);
        else if (target.StartsWith(cuda, StringComparison.Ordinal))
        {
            string mode = target[(cuda.Length + 1)..];
            using IDisposable setting = mode == "checked" ? Emulated.Checked() : Emulated.InOrder(mode);
            result = run(Emulated.Device);
        }
        else
        {
            using var limit = Simd.Limit(int.Parse(target.AsSpan("cpu-".Length)));
            result = run(Device.Cpu);
        }
        Ran.AddOrUpdate(target.StartsWith("cpu", StringComparison.Ordinal) ? "cpu" : cuda, 1, (_, n) => n + 1);
        Assert.That(result.Problem, Is.Null);
    }

    private static IEnumerable<TestCaseData> Grid(string kind, Func<OpCase, bool> wanted) =>
        from test in CaseRunner.AllCases
        where !test.BenchmarkOnly && wanted(test)
        from target in Targets(test)
        select new TestCaseData(test, target).SetArgDisplayNames(kind, test.ToString(), target);

    private static bool HasCudaKernels(OpCase test) => test.Kernels.All(op => CudaOps.Names.Contains(CudaOps.NameOf(op)));

    private static IEnumerable<string> Targets(OpCase test)
    {
        if (test.OnCpu)
            foreach (int bits in new[] { 128, 256, 512 }.Where(b => b <= Simd.HardwareBits && (b == Simd.HardwareBits || test.Precision == Precision.Float32))) yield return $"cpu-{bits}";
        if (!HasCudaKernels(test)) yield break;
        if (TestDevice.IsChosen)
        {
            yield return TestDevice.CudaName;
            yield break;
        }
        bool thorough = Thorough || (test.Kernels.Any(op => CudaOps.Exchanging.Contains(CudaOps.NameOf(op))) && test.Inputs.Sum(i => i.Shape.Count) <= SmallCaseElements);
        string[] orders = thorough ? Emulated.Orders : test.Precision != Precision.Float32 ? [Emulated.Orders[1]] : [Emulated.Orders[0], Emulated.Orders[3]];
        foreach (string order in orders) yield return $"cuda-emulated-{order}";
        if (thorough) yield return "cuda-emulated-checked";
    }
}

/// <summary>
/// Which ops have CUDA kernels, by the convention of the ops: XOp has a class XOp.Cuda, and its cases are named x or
/// with hyphens.
/// </summary>
internal static partial class CudaOps
{
    private static readonly Type[] Ops =
    [
        .. typeof(Device).Assembly.GetTypes().Where(t => t.IsNested && t.Name == "Cuda" && t.DeclaringType!.Name.EndsWith("Op", StringComparison.Ordinal))
            .Select(t => t.DeclaringType!),
    ];

    internal static readonly IReadOnlySet<string> Names = Ops.Select(NameOf).ToHashSet();

    /// <summary>
    /// Those whose threads exchange values, so that the order they run in could matter: a file of their kernels has shared
    /// memory, a collective or a barrier. An op without kernels of its own launches another's: tiles or sums, which exchange.
    /// </summary>
    internal static readonly IReadOnlySet<string> Exchanging = Ops.Where(op => !Modules(op).Any() || Modules(op).Any(Exchanges)).Select(NameOf).ToHashSet();

    /// <summary>The kernel files that an op's classes name in their static fields.</summary>
    private static IEnumerable<string> Modules(Type op) =>
        from type in op.GetNestedTypes(BindingFlags.NonPublic).Where(t => !t.ContainsGenericParameters)
        from field in type.GetFields(BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public)
        let module = field.GetValue(null) switch { CudaKernel k => k.Module, TypedKernel k => k.Module, _ => "" }
        where module.Length > 0
        select module;

    private static bool Exchanges(string module) => ExchangeOfValues().IsMatch(KernelSources.Text(module));

    [GeneratedRegex(@"\b(DYN_)?SHARED\(|\b(warp|block)_\w+\(|\b__sync")]
    private static partial Regex ExchangeOfValues();

    private static string NameOf(Type op) => NameOf(op.Name[..^2]);

    internal static string NameOf(string op) => op.Replace("-", "").Replace("_", "").ToLowerInvariant();
}
