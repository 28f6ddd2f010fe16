using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using KernelContrast.Cases;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>What kernels/ exports and what the ops launch are the same, and ops that launch have cases.</summary>
[TestFixture]
internal sealed partial class KernelBindingTests
{
    private static readonly string[] Families = ["augment", "contrast", "nn", "optim"];

    [Test]
    public void Every_exported_kernel_is_launched_by_an_op_and_every_launched_one_is_exported()
    {
        string[] exported = [.. Exported()];
        Assert.That(exported, Has.Length.GreaterThan(50), "kernels/ was not found");
        // Other tests name kernels that are not there, to see them refused.
        string[] bound = [.. Bound().Where(k => Families.Contains(k.Module.Split('/')[0])).Select(NameOf).Distinct().Where(k => !k.Contains("no_such", StringComparison.Ordinal))];
        Assert.That(exported.Except(bound), Is.Empty, "exported by a file in kernels/, but no CudaKernel of an op names it");
        Assert.That(bound.Except(exported), Is.Empty, "named by a CudaKernel, but its file does not export it");
    }

    [Test]
    public void Every_op_has_a_case()
    {
        HashSet<string> withCases = [.. CaseRunner.AllCases.Where(c => !c.BenchmarkOnly).SelectMany(c => c.Kernels).Select(CudaOps.NameOf)];
        string[] ops = [.. Types().Where(t => t.Name.EndsWith("Op", StringComparison.Ordinal) && t.GetNestedType("Kernels", BindingFlags.NonPublic) is not null)
            .Select(t => CudaOps.NameOf(t.Name[..^2]))];
        Assert.That(ops, Has.Length.GreaterThan(20));
        Assert.That(ops.Except(withCases), Is.Empty);
    }

    /// <summary><c>family/file:kernel</c> of every kernel file.</summary>
    private static IEnumerable<string> Exported([CallerFilePath] string here = "")
    {
        string kernels = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "kernels"));
        return from family in Families
               from file in Directory.EnumerateFiles(Path.Combine(kernels, family), "*.cu")
               from Match match in Export().Matches(File.ReadAllText(file))
               select $"{family}/{Path.GetFileNameWithoutExtension(file)}:{match.Groups[1].Value}";
    }

    /// <summary>Ops keep their kernels in static fields: running the types' initialisers makes them all.</summary>
    private static CudaKernel[] Bound()
    {
        foreach (Type type in Types().Where(t => !t.ContainsGenericParameters)) RuntimeHelpers.RunClassConstructor(type.TypeHandle);
        return CudaKernel.All;
    }

    private static Type[] Types() => typeof(Device).Assembly.GetTypes();

    private static string NameOf(CudaKernel kernel) => $"{kernel.Module}:{kernel.Name}";

    [GeneratedRegex(@"extern ""C"" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(")]
    private static partial Regex Export();
}
