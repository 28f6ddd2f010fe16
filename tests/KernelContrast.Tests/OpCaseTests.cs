using KernelContrast.Cases;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>Every op case on the CPU at every vector width this machine has.</summary>
[TestFixture]
internal sealed class OpCaseTests
{
    private static IEnumerable<TestCaseData> Forward() => Grid("forward", _ => true);

    private static IEnumerable<TestCaseData> Gradients() => Grid("gradient", c => c.CheckGradient);

    [TestCaseSource(nameof(Forward))]
    public void Output_matches_the_double_reference(OpCase test, int bits)
    {
        using var limit = Simd.Limit(bits);
        CaseResult result = CaseRunner.Compare(test, Device.Cpu);
        Assert.That(result.Problem, Is.Null);
    }

    [TestCaseSource(nameof(Gradients))]
    public void Gradient_matches_under_a_random_upstream_gradient(OpCase test, int bits)
    {
        using var limit = Simd.Limit(bits);
        CaseResult result = CaseRunner.CheckGradient(test, Device.Cpu);
        Assert.That(result.Problem, Is.Null);
    }

    private static IEnumerable<TestCaseData> Grid(string kind, Func<OpCase, bool> wanted)
    {
        foreach (OpCase test in CaseRunner.AllCases.Where(c => !c.BenchmarkOnly && wanted(c)))
            foreach (int bits in new[] { 128, 256, 512 }.Where(b => b <= Simd.HardwareBits))
                yield return new TestCaseData(test, bits).SetArgDisplayNames(kind, test.ToString(), $"cpu-{bits}");
    }
}
