using KernelContrast.Cases;
using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>The kernels for compute capability 9.0: where they are used, and on every op case in bfloat16.</summary>
[TestFixture]
internal sealed class HopperKernelTests
{
    private const long SmallCaseElements = 4096;

    private static readonly string[] Ops = [.. Enum.GetNames<LossKind>().Select(CudaOps.NameOf)];

    private static IEnumerable<TestCaseData> Cases() =>
        from test in CaseRunner.AllCases
        where !test.BenchmarkOnly && test.Precision == Precision.BFloat16 && test.Kernels.Any(op => Ops.Contains(CudaOps.NameOf(op)))
        select new TestCaseData(test).SetArgDisplayNames(test.ToString(), TestDevice.CudaName);

    [TestCaseSource(nameof(Cases))]
    public void Cases_in_bfloat16_match_the_double_reference(OpCase test)
    {
        using IDisposable kernels = Products.Hopper.Use();
        bool small = test.Inputs.Sum(i => i.Shape.Count) <= SmallCaseElements;
        foreach (string order in !TestDevice.IsEmulated ? [""] : small ? Emulated.Orders : Emulated.Orders[1..2])
        {
            using IDisposable? setting = TestDevice.IsEmulated ? Emulated.InOrder(order) : null;
            Compare();
        }
        if (!TestDevice.IsEmulated || !small) return;
        using IDisposable mode = Emulated.Checked();
        Compare();

        void Compare()
        {
            Assert.That(CaseRunner.Compare(test, TestDevice.Cuda).Problem, Is.Null);
            if (test.CheckGradient) Assert.That(CaseRunner.CheckGradient(test, TestDevice.Cuda).Problem, Is.Null);
        }
    }

    [Test]
    public void There_are_cases_of_every_loss() =>
        Assert.That(Cases().SelectMany(c => ((OpCase)c.Arguments[0]!).Kernels).Select(CudaOps.NameOf).Distinct(), Is.SupersetOf(Ops));

    /// <summary>
    /// The machine code has wgmma where the kernel's source has it, and the compiler did not put waits between them, which it
    /// says when it cannot prove that nothing else touches accumulators under way.
    /// </summary>
    [TestCase("contrast/contrastive_hopper", "contrastive_statistics_hopper", 4), TestCase("contrast/contrastive_hopper", "contrastive_weights_hopper", 4)]
    [TestCase("contrast/contrastive_hopper", "contrastive_product_hopper", 8), TestCase("contrast/cosine_similarity_hopper", "cosine_similarity_hopper", 4)]
    [TestCase("contrast/contrastive_fused_hopper", "contrastive_fused_hopper_64", 20), TestCase("contrast/contrastive_fused_hopper", "contrastive_fused_hopper_128", 32)]
    [TestCase("contrast/contrastive_fused_hopper", "contrastive_fused_hopper_online_128", 32), TestCase("contrast/contrastive_fused_hopper", "contrastive_fused_hopper_sigmoid_128", 32)]
    [TestCase("tests/wgmma_wrappers", "wgmma_n128_km", 4), TestCase("tests/wgmma_wrappers", "wgmma_n128_rm", 4)]
    public void Products_of_warpgroups_are_compiled_to_run_side_by_side(string module, string kernel, int products)
    {
        NvrtcForTests.Need();
        byte[] cubin = KernelCompiler.Compile(module, "sm_90a", out string log, "--ptxas-options=-v");
        Dictionary<int, int> code = Cubin.Count(cubin)[kernel];
        Assert.That(Cubin.WarpgroupProducts(code), Is.EqualTo(products), "HGMMA");
        Assert.That(code.GetValueOrDefault(Cubin.TensorCore), Is.Zero, "HMMA");
        Assert.That(log, Does.Not.Contain("serialized"));
        Assert.That(() => KernelCompiler.Compile(module, "sm_80", out _), Throws.Nothing, "for other GPUs the file is empty, not broken");
    }

    /// <summary>Tiles are of the plan alone: the same call, on a device that has the kernels and on one that has not.</summary>
    [Test]
    public void A_device_of_9_0_uses_them_when_asked_to()
    {
        Emulated.Only();
        _ = TestDevice.Cuda;
        string? before = Environment.GetEnvironmentVariable(CudaDevice.HopperVariable);
        try
        {
            foreach ((string? variable, int capability, HopperKernels expected) in new[]
            {
                (null, 9, HopperKernels.Off), ("off", 9, HopperKernels.Off), ("on", 9, HopperKernels.On), ("always", 9, HopperKernels.Always),
                ("on", 8, HopperKernels.Off), ("always", 8, HopperKernels.Off),
            })
                Open(variable, capability, device =>
                {
                    Assert.That((device.ComputeCapability, device.HopperKernels), Is.EqualTo(((capability, 0), expected)), $"{variable} on {capability}.0");
                    (int small, int smallEdge, _) = ContrastPlan.TileOf(device, Precision.BFloat16, 1000, 1000, symmetric: true);
                    (int large, _, _) = ContrastPlan.TileOf(device, Precision.BFloat16, 8192, 8192, symmetric: true);
                    (int tf32, _, _) = ContrastPlan.TileOf(device, Precision.Tf32, 8192, 8192, symmetric: true);
                    Assert.That(small == ContrastModule.Hopper, Is.EqualTo(expected == HopperKernels.Always), "a small batch");
                    Assert.That(smallEdge, Is.EqualTo(expected == HopperKernels.Always ? 128 : 64));
                    Assert.That(large == ContrastModule.Hopper, Is.EqualTo(expected != HopperKernels.Off), "a large batch");
                    Assert.That(tf32, Is.Not.EqualTo(ContrastModule.Hopper));
                });
            Assert.That(() => Open("maybe", 9, _ => { }), Throws.InstanceOf<NotSupportedException>().With.Message.StartsWith($"{CudaDevice.HopperVariable}=maybe: expected"));
        }
        finally
        {
            CudaException.Check(CudaDriver.kceSetCapability(8, 0));
            Environment.SetEnvironmentVariable(CudaDevice.HopperVariable, before);
        }

        static void Open(string? variable, int capability, Action<CudaDevice> check)
        {
            Environment.SetEnvironmentVariable(CudaDevice.HopperVariable, variable);
            CudaException.Check(CudaDriver.kceSetCapability(capability, 0));
            CudaException.Check(CudaDriver.cuCtxCreate_v2(out nint context, 0, 0));
            try
            {
                using CudaDevice device = CudaDevice.FromContext(context);
                check(device);
            }
            finally
            {
                CudaException.Check(CudaDriver.cuCtxDestroy_v2(context));
            }
        }
    }
}
