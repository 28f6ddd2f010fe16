using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary><c>bench kernels</c> in small on the emulated driver: every family has rows, and their figures fit together.</summary>
[TestFixture]
internal sealed class KernelBenchTests
{
    [Test]
    public void Every_family_has_a_row_whose_figures_fit_together()
    {
        using var folder = new TemporaryFolder();
        Tool run = Tool.Run("bench", "kernels", "--tiny", "--device", "cuda-emulated", "--json", folder["out.json"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Error, Does.Contain("not a measurement"));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(folder["out.json"]));
        JsonElement root = json.RootElement, ceilings = root.GetProperty("ceilings");
        Assert.That(root.GetProperty("measured").GetBoolean(), Is.False);
        Assert.That(root.GetProperty("description").GetString(), Does.Contain("Emulated"));
        foreach (JsonProperty ceiling in ceilings.EnumerateObject().Where(c => c.Value.ValueKind == JsonValueKind.Number)) Assert.That(ceiling.Value.GetDouble(), Is.GreaterThan(0), ceiling.Name);
        JsonElement[] rows = [.. root.GetProperty("rows").EnumerateArray()];
        Assert.That(rows.Select(r => r.GetProperty("family").GetString()).Distinct(),
            Is.SupersetOf(new[] { "augment", "batch-norm", "conv", "cosine", "gemm", "launch", "nt-xent", "optim", "softmax", "top-k" }));
        foreach (JsonElement row in rows)
        {
            string what = row.GetProperty("family").GetString() + " " + row.GetProperty("item").GetString();
            JsonElement hot = row.GetProperty("hot");
            double median = hot.GetProperty("median").GetDouble(), floor = row.GetProperty("floorMilliseconds").GetDouble();
            Assert.That(median, Is.InRange(hot.GetProperty("p20").GetDouble(), hot.GetProperty("p80").GetDouble()).And.GreaterThan(0), what);
            Assert.That(row.GetProperty("percentOfFloor").GetDouble(), Is.EqualTo(100 * floor / median).Within(0.01).Percent, what);
            string precision = row.GetProperty("precision").GetString()!;
            double rate = ceilings.GetProperty(precision switch { "bf16" => "gemmBf16Gflops", "tf32" => "gemmTf32Gflops", _ => "gemmF32Gflops" }).GetDouble();
            double[] floors = [row.GetProperty("flops").GetDouble() / rate, row.GetProperty("bytes").GetDouble() / ceilings.GetProperty("copyGBs").GetDouble()];
            Assert.That(floor, Is.GreaterThanOrEqualTo(0.999e-6 * floors.Max()), what);
            if (row.GetProperty("family").GetString() is "gemm" or "conv" or "augment") Assert.That(floor, Is.EqualTo(1e-6 * floors.Max()).Within(0.01).Percent, what);
            if (row.TryGetProperty("error", out JsonElement error))
                Assert.That(error.GetDouble(), Is.LessThan(precision switch { "bf16" => 3e-2, "tf32" => 3e-3, _ => 1e-4 }), what);
        }
        foreach ((string family, string[] precisions) in new[] { ("gemm", new[] { "f32", "tf32", "bf16" }), ("conv", ["f32", "tf32", "bf16"]), ("augment", ["f32", "bf16"]) })
        {
            JsonElement[] those = [.. rows.Where(r => r.GetProperty("family").GetString() == family)];
            Assert.That(those.Select(r => r.GetProperty("precision").GetString()), Is.EqualTo(precisions), family);
            Assert.That(those.Select(r => r.GetProperty("item").GetString()).Distinct().Count(), Is.EqualTo(1), family);
            // bytes of numbers: 4, 4 and 2 each, and of augmentation the images' own byte
            long[] bytes = [.. those.Select(r => r.GetProperty("bytes").GetInt64())];
            Assert.That(bytes[^1], Is.LessThan(bytes[0]), family);
            if (family == "augment") Assert.That(bytes, Is.EqualTo(new[] { 9 * 3 * 3 * 12 * 12, 5 * 3 * 3 * 12 * 12 }));
            if (family == "gemm") Assert.That(those.Select(r => r.GetProperty("error").GetDouble()), Is.Ordered, "factors of 24, 11 and 8 bits");
        }
        Assert.That(rows.Count(r => r.TryGetProperty("error", out _)), Is.GreaterThanOrEqualTo(5));
        Assert.That(rows.Where(r => r.GetProperty("family").GetString() == "nt-xent"), Has.All.Matches<JsonElement>(r => r.TryGetProperty("gemmEquivalents", out _)));
        Assert.That(run.Output.TrimEnd().Split('\n'), Has.Length.EqualTo(4 + rows.Length));
    }

    [Test]
    public void The_ceiling_of_cuBLASLt_is_shown_or_why_there_is_none()
    {
        string[] call = ["bench", "kernels", "softmax", "--tiny", "--device", "cuda-emulated"];
        Assert.That(Line(Tool.Run(call)), Is.EqualTo("cuBLASLt: switched off"));
        string library = Path.Combine(Interop.CudaLibrary.CheckoutFolders().First(), "build", "emulator", "libkernelcontrast_cublaslt.so");
        Assert.That(Line(Tool.RunWith([("KERNELCONTRAST_VENDOR_LIBRARIES", "on"), ("KERNELCONTRAST_CUBLASLT", library)], call)),
            Does.Match(@"^cuBLASLt: the same product \d+ GFLOP/s in f32, \d+ in tf32, \d+ in bf16; cuBLASLt 12\.0\.0 "));
        Tool.RunWith([("KERNELCONTRAST_VENDOR_LIBRARIES", "yes")], call).WasRefused("a wrong setting", "KERNELCONTRAST_VENDOR_LIBRARIES", "'on'", "yes");

        static string Line(Tool run)
        {
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            return run.Output.Split('\n')[2];
        }
    }

    /// <summary>A library that was named is not done without in silence, nor looked for elsewhere; where all are switched off it is not asked for.</summary>
    [Test]
    public void A_named_library_that_does_not_load_is_refused_by_its_variable([Values("KERNELCONTRAST_CUBLASLT", "KERNELCONTRAST_CUDNN")] string variable)
    {
        string[] call = ["bench", "kernels", "softmax", "--tiny", "--device", "cuda-emulated"];
        foreach (string path in new[] { "/nowhere/libcudnn.so.9", AppContext.BaseDirectory })
        {
            Tool.RunWith([("KERNELCONTRAST_VENDOR_LIBRARIES", "on"), (variable, path)], call)
                .WasRefused(path, $"{variable}={path}: could not load {path}", "unset it");
        }
        Assert.That(Tool.RunWith([("KERNELCONTRAST_VENDOR_LIBRARIES", "off"), (variable, "/nowhere")], call).ExitCode, Is.Zero, "switched off");
    }

    [Test]
    public void On_compute_capability_9_0_what_has_a_kernel_for_it_has_both_rows()
    {
        string[] call = ["bench", "kernels", "cosine", "--tiny", "--device", "cuda-emulated"];
        Tool both = Tool.RunWith([("KERNELCONTRAST_EMULATOR_CAPABILITY", "9.0")], call), one = Tool.Run(call);
        Assert.That((both.ExitCode, one.ExitCode), Is.EqualTo((0, 0)), both.Error + one.Error);
        Assert.That(one.Output, Does.Not.Contain("wgmma"));
        Assert.That(both.Output.Split('\n').Count(l => l.StartsWith("cosine", StringComparison.Ordinal)), Is.EqualTo(one.Output.Split('\n').Count(l => l.StartsWith("cosine", StringComparison.Ordinal)) + 1));
        Assert.That(both.Output.Split('\n').Single(l => l.Contains("wgmma", StringComparison.Ordinal)), Does.Contain("bf16"));
        string[] loss = [.. Tool.RunWith([("KERNELCONTRAST_EMULATOR_CAPABILITY", "9.0")], "bench", "kernels", "nt-xent", "--tiny", "--device", "cuda-emulated").Output.Split('\n')
            .Where(l => l.Contains("40 rows of 24", StringComparison.Ordinal))];
        Assert.That(loss, Has.Length.EqualTo(3), "mma.sync, wgmma, and that with weights in memory");
        Assert.That(loss.Count(l => l.Contains("wgmma", StringComparison.Ordinal)), Is.EqualTo(2));
        Assert.That(loss.Count(l => l.Contains("weights in memory", StringComparison.Ordinal)), Is.EqualTo(1));
        Tool.RunWith([("KERNELCONTRAST_HOPPER_KERNELS", "yes")], call).WasRefused("a wrong setting", "KERNELCONTRAST_HOPPER_KERNELS", "'on'", "yes");
    }

    [Test]
    public void One_family_can_be_asked_for()
    {
        Tool run = Tool.Run("bench", "kernels", "softmax", "--tiny", "--device", "cuda-emulated");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.TrimEnd().Split('\n')[4..], Has.Length.EqualTo(1).And.All.StartWith("softmax"));
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        Tool.Refuses(["bench", "kernels"], "cpu", "--device cuda");
        Tool.Refuses(["bench", "kernels", "nix"], "nix", "softmax", "bench kernels --help");
        Tool.Refuses(["bench", "kernels", "--seconds", "0"], "--seconds");
    }
}
