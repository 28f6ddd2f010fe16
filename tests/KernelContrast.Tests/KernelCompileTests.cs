using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>
/// Every kernel file compiles for GPUs, without spills, and <c>docs/kernel-resources.md</c> says what each kernel takes.
/// </summary>
[TestFixture]
[Parallelizable(ParallelScope.Children)]
internal sealed partial class KernelCompileTests
{
    /// <summary>Has the table written instead of compared: <c>./build.sh nvrtc --table</c>.</summary>
    private const string WriteVariable = "KERNELCONTRAST_WRITE_KERNEL_RESOURCES";

    private static readonly ConcurrentDictionary<(string Module, string Target), Lazy<IReadOnlyList<Resources>>> Compiled = new();

    /// <summary>
    /// Bytes of spill stores and loads that are put up with: two registers, on 9.0 alone, kept outside the loop over the depth, in
    /// exchange for a second block on the multiprocessor. A measurement on a GPU is to settle it.
    /// </summary>
    private static readonly Dictionary<string, int> Tolerated = new() { ["contrastive_statistics_bf16"] = 16 };

    /// <summary>What ptxas says of a kernel.</summary>
    private sealed record Resources(string Kernel, int Registers, int SharedBytes, int StackBytes, int SpillBytes, int Threads, int TensorCoreInstructions, int LocalInstructions)
    {
        /// <summary>
        /// Warps on a multiprocessor as a share of the 64 it can have, as registers, static shared memory, threads and blocks
        /// allow: 65,536 registers, given to warps in units of 256; 164 KiB of shared memory on 8.0 and 228 on 9.0, of which a
        /// block takes 1 KiB for itself; 32 blocks.
        /// </summary>
        internal int OccupancyPercent(string target)
        {
            int warps = (Threads + 31) / 32, shared = (target == "sm_80" ? 164 : 228) << 10;
            int byRegisters = 16384 / ((Registers * 32 + 255) / 256 * 256) * 4 / warps;
            int blocks = Math.Min(Math.Min(byRegisters, shared / (SharedBytes + 1024)), Math.Min(32, 64 / warps));
            return 100 * blocks * warps / 64;
        }
    }

    /// <summary>Those of bindings/toolkit/CMakeLists.txt, of which NVRTC may be too old to know the last.</summary>
    private static readonly string[] Architectures = ["80", "86", "89", "90", "90a", "100"];

    /// <summary>
    /// Take 43 of the 55 s of a core that all files take per architecture. Their inline PTX is the prelude's, and
    /// tests/ptx_wrappers has all of that.
    /// </summary>
    private static readonly string[] Slow = ["contrast/contrastive", "nn/conv2d_bf16", "nn/gemm_bf16"];

    private static readonly bool Thorough = Environment.GetEnvironmentVariable("KERNELCONTRAST_TEST_THOROUGH") == "1";

    private static IEnumerable<string> KnownTargets()
    {
        // Without NVRTC the cases are listed all the same, and say that it is missing.
        int[] known = [80, 86, 89, 90];
        try
        {
            NvrtcLibrary.Use();
            known = Nvrtc.SupportedArchitectures();
        }
        catch (CudaNotFoundException) { }
        return from arch in Architectures where known.Contains(int.Parse(arch.TrimEnd('a'), CultureInfo.InvariantCulture)) select $"sm_{arch}";
    }

    /// <summary>
    /// Every file for every architecture that NVRTC knows, but for <see cref="Slow"/> ones on 8.6 and 8.9: those only under
    /// --full. (Compiling them without optimisation is no way out: NVRTC 12.4 then optimises less in all that the process
    /// compiles afterwards.)
    /// </summary>
    private static IEnumerable<TestCaseData> Targets() =>
        from module in KernelSources.Modules
        from target in TargetsOf(module)
        where Thorough || target is not ("sm_86" or "sm_89") || !Slow.Contains(module)
        select new TestCaseData(module, target);

    /// <summary>A file with code for sm_90a alone has no other kernels.</summary>
    private static IEnumerable<string> TargetsOf(string module) =>
        KernelCompiler.UsesArchitectureFeatures(KernelSources.Text(module)) ? ["sm_90a"] : KnownTargets();

    [TestCaseSource(nameof(Targets))]
    public void Every_kernel_file_compiles_without_spills(string module, string target)
    {
        NvrtcForTests.Need();
        IReadOnlyList<Resources> kernels = Compile(module, target);
        string[] declared = [.. Declaration().Matches(KernelSources.Text(module)).Select(m => m.Groups[1].Value)];
        Assert.That(declared, Is.Not.Empty);
        Assert.That(kernels.Select(k => k.Kernel), Is.EquivalentTo(declared));
        foreach (Resources kernel in kernels)
            Assert.That(kernel.SpillBytes, Is.AtMost(Tolerated.GetValueOrDefault(kernel.Kernel)), $"{kernel.Kernel} needs more than its {kernel.Registers} registers for {target} and spills");
        foreach (Resources kernel in kernels)
        {
            Assert.That(TensorCoreProblem(KernelSources.Text(module), kernel.Kernel, kernel.TensorCoreInstructions), Is.Null, target);
            Assert.That(kernel.LocalInstructions, kernel.SpillBytes > 0 ? Is.Positive : Is.Zero, $"{kernel.Kernel} for {target}: STL and LDL instructions");
        }
    }

    [Test]
    public void The_architectures_are_those_that_the_build_with_nvcc_makes()
    {
        string file = Path.Combine(CudaLibrary.CheckoutFolders().First(), "bindings", "toolkit", "CMakeLists.txt");
        if (!File.Exists(file)) Assert.Ignore($"There is no {file}: this is no checkout.");
        Assert.That(File.ReadAllText(file), Does.Contain($"set(KERNELCONTRAST_ARCHITECTURES \"{string.Join(';', Architectures)}\""));
    }

    [Test]
    public void The_table_of_resources_is_up_to_date()
    {
        NvrtcForTests.Need();
        string table = Table(), path = Path.Combine(CudaLibrary.CheckoutFolders().First(), "docs", "kernel-resources.md");
        if (Environment.GetEnvironmentVariable(WriteVariable) == "1")
        {
            File.WriteAllText(path, table);
            return;
        }
        if (NvrtcLibrary.Version != (12, 4)) Assert.Ignore($"The table is that of NVRTC 12.4; this is {NvrtcLibrary.Version}.");
        string committed = File.Exists(path) ? File.ReadAllText(path) : "";
        string[] now = table.Split('\n'), then = committed.Split('\n');
        Assert.That(committed, Is.EqualTo(table),
            $"docs/kernel-resources.md is out of date. Write it anew with ./build.sh nvrtc --table, look at what changed, and commit it. New lines: {string.Join("; ", now.Except(then).Take(5))}. Old lines: {string.Join("; ", then.Except(now).Take(5))}.");
    }

    /// <summary>
    /// What is wrong with a kernel's number of HMMA instructions, by its source alone, so that a new kernel is under the rule:
    /// bf16, tf32, hopper or wgmma in the name promises products on tensor cores, as does a call of a wrapper of mma in the kernel itself. A
    /// file or kernel that forms none says "No tensor cores" in its head or in the comment on the line above, and then has
    /// none; nor has one whose name promises none.
    /// </summary>
    private static string? TensorCoreProblem(string source, string kernel, int instructions)
    {
        string[] lines = source.Split('\n');
        int at = Array.FindIndex(lines, l => Declaration().Match(l) is { Success: true } m && m.Groups[1].Value == kernel);
        IEnumerable<string> comments = lines.TakeWhile(l => l.StartsWith("//", StringComparison.Ordinal));
        if (at > 0 && lines[at - 1].StartsWith("//", StringComparison.Ordinal)) comments = comments.Append(lines[at - 1]);
        bool none = comments.Any(l => l.Contains("No tensor cores", StringComparison.Ordinal));
        IEnumerable<string> body = lines[at].TrimEnd().EndsWith('}') ? [lines[at]] : lines.Skip(at).TakeWhile(l => l != "}");
        bool calls = body.Any(l => CallsTensorCores().IsMatch(l));
        if ((calls || NamesTensorCores().IsMatch(kernel)) && !none)
            return instructions > 0 ? null : $"{kernel} has no HMMA instruction, though its name or its body promises products on tensor cores. If it forms none, say \"No tensor cores\" and why in the comment on the line above it.";
        return instructions == 0 ? null : $"{kernel} has HMMA instructions, though {(none ? "a comment says that it uses no tensor cores" : "its name does not say bf16 or tf32")}.";
    }

    [TestCase("planted_bf16", "", "for (int i = 0; i < 16; i++) c[threadIdx.x] += x[i] * x[16 * threadIdx.x + i];", "no HMMA", TestName = "A bf16 kernel whose products are scalar")]
    [TestCase("planted_tf32", "// Sums only.\n", "c[threadIdx.x] += to_tf32(x[threadIdx.x]);", "no HMMA", TestName = "A tf32 kernel without products, unexplained")]
    [TestCase("cast_bf16", "// No tensor cores: it rounds.\n", "c[threadIdx.x] = to_float(to_bf16(x[threadIdx.x]));", null, TestName = "A bf16 kernel that says it has no products")]
    [TestCase("planted_bf16", "", Mma, null, TestName = "A bf16 kernel with mma")]
    [TestCase("planted_bf16", "// No tensor cores.\n", Mma, "a comment says", TestName = "A comment that is no longer true")]
    [TestCase("planted", "", Mma, null, TestName = "A kernel that calls mma itself, whatever its name")]
    [TestCase("planted", "", "if (c == nullptr) { " + Mma + " }", null, TestName = "The same in a branch")]
    [TestCase("planted", "", "helper(c, x);", "does not say", TestName = "A float32 kernel that uses tensor cores by way of another function")]
    public void A_lost_or_unannounced_mma_is_seen(string kernel, string comment, string body, string? problem)
    {
        NvrtcForTests.Need();
        string source = $"// Planted.\n#include \"common/prelude.cuh\"\n\nDEV void helper(float* c, const float* x)\n{{\n    {Mma}\n}}\n\n"
            + $"{comment}extern \"C\" __global__ void __launch_bounds__(32) {kernel}(float* __restrict__ c, const float* __restrict__ x)\n{{\n    {body}\n}}\n";
        byte[] cubin = Nvrtc.Compile("planted.cu", source, KernelSources.Headers, ["--gpu-architecture=sm_80", "--std=c++17"], out _);
        string? found = TensorCoreProblem(source, kernel, Cubin.Count(cubin)[kernel].GetValueOrDefault(Cubin.TensorCore));
        Assert.That(found, problem is null ? Is.Null : Does.Contain(problem));
    }

    private const string Mma = "float s[1][2][4] = {}; uint32_t a[1][4] = {1, 2, 3, threadIdx.x}, b[1][4] = {4, 5, 6, threadIdx.x}; mma_bf16(s, a, b); c[threadIdx.x] = s[0][0][0] + s[0][1][1] + x[0];";

    [Test]
    public void A_source_that_does_not_compile_is_an_error_with_the_log()
    {
        NvrtcForTests.Need();
        Assert.That(() => Nvrtc.Compile("kernels/broken.cu", "#include \"common/prelude.cuh\"\nextern \"C\" __global__ void broken() { undeclared = 1; }",
            KernelSources.Headers, ["--gpu-architecture=sm_80", "--std=c++17"], out _),
            Throws.TypeOf<NvrtcException>().With.Message.Contains("kernels/broken.cu(2)").And.Message.Contains("undeclared"));
    }

    [Test]
    public void Spills_are_seen()
    {
        NvrtcForTests.Need();
        _ = Nvrtc.Compile("spill.cu", """
            extern "C" __global__ void __launch_bounds__(1024) spill(float* y, const float* x)
            {
                float v[200];
            #pragma unroll
                for (int i = 0; i < 200; i++) v[i] = x[i * 1024 + threadIdx.x];
                __syncthreads(); // nothing to order: the values must be kept
            #pragma unroll
                for (int i = 0; i < 200; i++) y[i * 1024 + threadIdx.x] = v[199 - i] * v[i];
            }
            """, [], ["--gpu-architecture=sm_80", "--ptxas-options=-v"], out string log);
        Resources kernel = Parse(log).Single();
        Assert.That(kernel.Kernel, Is.EqualTo("spill"));
        Assert.That(kernel.SpillBytes, Is.Positive, log);
    }

    private static IReadOnlyList<Resources> Compile(string module, string target) => Compiled.GetOrAdd((module, target), key => new(() =>
    {
        byte[] cubin = KernelCompiler.Compile(key.Module, key.Target, out string log, "--ptxas-options=-v");
        Dictionary<string, Dictionary<int, int>> code = Cubin.Count(cubin);
        Dictionary<string, int> threads = Bounds().Matches(KernelSources.Text(key.Module)).ToDictionary(m => m.Groups["kernel"].Value, m => ThreadsOf(key.Module, m.Groups["threads"].Value));
        return
        [
            .. Parse(log).Select(k => k with
            {
                Threads = threads.GetValueOrDefault(k.Kernel, 1024),
                TensorCoreInstructions = code[k.Kernel].GetValueOrDefault(Cubin.TensorCore) + Cubin.WarpgroupProducts(code[k.Kernel]),
                LocalInstructions = code[k.Kernel].GetValueOrDefault(Cubin.LocalStore) + code[k.Kernel].GetValueOrDefault(Cubin.LocalLoad),
            }),
        ];
    })).Value;

    private static List<Resources> Parse(string log) =>
        [.. from match in Report().Matches(log)
            let groups = match.Groups
            select new Resources(groups["kernel"].Value, Number(groups["registers"]), Number(groups["shared"]), Number(groups["stack"]),
                Number(groups["stores"]) + Number(groups["loads"]), 0, 0, 0)];

    /// <summary>A number, or the name of a constant of the file or of product_tile.cuh.</summary>
    private static int ThreadsOf(string module, string bound)
    {
        if (int.TryParse(bound, NumberStyles.None, CultureInfo.InvariantCulture, out int number)) return number;
        string[] parts = bound.Split("::");
        string source = parts.Length == 1 ? KernelSources.Text(module) : KernelSources.Headers.Single(h => h.Text.Contains($"namespace {parts[0]}\n{{", StringComparison.Ordinal)).Text;
        return Number(Regex.Match(source, $@"constexpr int {parts[^1]} = (\d+);").Groups[1]);
    }

    private static int Number(Group group) => group.Success ? int.Parse(group.Value, CultureInfo.InvariantCulture) : 0;

    private static string Table()
    {
        var text = new StringBuilder("""
            # What each kernel takes of a GPU

            Written by `./build.sh nvrtc --table`, kept true by a test: compiled by NVRTC 12.4 for sm_80 and sm_90. Registers are
            per thread, shared memory (static) in bytes per block, stack and spills (stores and loads of registers) in bytes per
            thread. A kernel that spills fails its test, unless the test names it and says why.

            Occupancy is the share of a multiprocessor's 64 warps that registers, static shared memory and the most threads of a
            block allow, in percent; dynamic shared memory, which the products of the contrastive losses take, is not in it. HMMA
            counts the tensor-core instructions of the machine code. Kernels of compute capability 9.0 alone have no sm_80 columns;
            they are compiled for sm_90a, and theirs are HGMMA, products of whole warpgroups. A test wants such instructions in every
            kernel whose name says bf16, tf32, hopper or wgmma, unless a comment says that it forms no products, and in no other; and
            loads and stores of local memory (LDL, STL) nowhere but where spills are put up with.

            | kernel | threads | registers sm_80 | sm_90 | shared sm_80 | sm_90 | stack sm_80 | sm_90 | spills sm_80 | sm_90 | occupancy sm_80 | sm_90 | HMMA sm_80 | sm_90 |
            |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|

            """);
        foreach (string module in KernelSources.Modules)
        {
            if (!TargetsOf(module).Contains("sm_80"))
            {
                foreach (Resources k in Compile(module, "sm_90a").OrderBy(k => k.Kernel, StringComparer.Ordinal))
                    text.Append(CultureInfo.InvariantCulture,
                        $"| {module}: {k.Kernel} | {k.Threads} | | {k.Registers} | | {k.SharedBytes} | | {k.StackBytes} | | {k.SpillBytes} | | {k.OccupancyPercent("sm_90")} | | {k.TensorCoreInstructions} |\n");
                continue;
            }
            Dictionary<string, Resources> other = Compile(module, "sm_90").ToDictionary(k => k.Kernel);
            foreach (Resources a in Compile(module, "sm_80").OrderBy(k => k.Kernel, StringComparer.Ordinal))
            {
                Resources b = other[a.Kernel];
                text.Append(CultureInfo.InvariantCulture,
                    $"| {module}: {a.Kernel} | {a.Threads} | {a.Registers} | {b.Registers} | {a.SharedBytes} | {b.SharedBytes} | {a.StackBytes} | {b.StackBytes} | {a.SpillBytes} | {b.SpillBytes} | "
                    + $"{a.OccupancyPercent("sm_80")} | {b.OccupancyPercent("sm_90")} | {a.TensorCoreInstructions} | {b.TensorCoreInstructions} |\n");
            }
        }
        return text.Replace("\r\n", "\n").ToString();
    }

    [GeneratedRegex(@"^[ \t]*extern ""C"" __global__ void (?:__launch_bounds__\([^)\n]*\) )?(\w+)\(", RegexOptions.Multiline)]
    private static partial Regex Declaration();

    [GeneratedRegex(@"^[ \t]*extern ""C"" __global__ void __launch_bounds__\((?<threads>[\w:]+)[^)\n]*\) (?<kernel>\w+)\(", RegexOptions.Multiline)]
    private static partial Regex Bounds();

    [GeneratedRegex("bf16|tf32|_hopper(_|$)|^wgmma_")]
    private static partial Regex NamesTensorCores();

    [GeneratedRegex(@"\bw?g?mma_(bf16|tf32)\(")]
    private static partial Regex CallsTensorCores();

    // ptxas info : Compiling entry function 'x' for 'sm_80' … 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill
    // loads … Used 12 registers, 384 bytes smem, 372 bytes cmem[0]
    [GeneratedRegex(@"entry function '(?<kernel>\w+)' for.*?(?<stack>\d+) bytes stack frame, (?<stores>\d+) bytes spill stores, (?<loads>\d+) bytes spill loads.*?Used (?<registers>\d+) registers(?:[^\n]*?(?<shared>\d+) bytes smem)?", RegexOptions.Singleline)]
    private static partial Regex Report();
}
