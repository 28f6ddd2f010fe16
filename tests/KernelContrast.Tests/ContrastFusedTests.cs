using KernelContrast.Devices;
using KernelContrast.Losses;
using static KernelContrast.Tests.ContrastCudaTests;

namespace KernelContrast.Tests;

/// <summary>
/// What is particular to the backward pass of compute capability 9.0 that keeps weights in registers: when it is taken, how
/// it is cut, long loops, and gradients of one side alone. The rest is with the other kernels' tests.
/// </summary>
[TestFixture]
internal sealed class ContrastFusedTests
{
    private static readonly LossKind[] AllKinds = Enum.GetValues<LossKind>();

    /// <summary>300 rows are two stripes of lines, and the first goes along nine tiles: more than there are stages.</summary>
    private static Problem Long(LossKind kind, float temperature) => new(kind, 300, kind == LossKind.Clip ? 300 : 530, 40, temperature);

    [Test]
    public void Ragged_sizes_err_as_naive_rounding_does([Values(257, 513)] int pairs, [Values(1, 7, 64, 100, 128)] int dim) =>
        MatchesNaiveRounding(new(LossKind.NtXent, 2 * pairs, 0, dim, 0.1f), Products.Hopper);

    [Test]
    public void Long_loops_err_as_naive_rounding_does([ValueSource(nameof(AllKinds))] LossKind kind, [Values(0.1f, 0.02f)] float temperature)
    {
        MatchesNaiveRounding(Long(kind, temperature), Products.HopperInTwoBlocks);
        MatchesNaiveRounding(Long(kind, temperature) with { Dim = 100, Labels = true, Reduction = Reduction.None }, Products.HopperInTwoBlocks);
        MatchesNaiveRounding(Long(kind, 100 * temperature) with { Dim = 128, Normalize = false, Reduction = Reduction.Sum }, Products.HopperInTwoBlocks);
    }

    [Test]
    public void Long_loops_give_the_same_bits_in_every_order([ValueSource(nameof(AllKinds))] LossKind kind)
    {
        using IDisposable kernels = Products.HopperInTwoBlocks.Use();
        if (!TestDevice.IsEmulated) Assert.Ignore("GPUs choose their own order.");
        Result? first = null;
        foreach (string order in Emulated.Orders)
        {
            using IDisposable setting = Emulated.InOrder(order);
            Result now = Run(Emulated.Device, Long(kind, 0.1f), Precision.BFloat16);
            first ??= now;
            for (int i = 0; i < now.All.Length; i++) Assert.That(now.All[i].SequenceEqual(first.All[i]), $"{order}, output {i}");
        }
    }

    [Test]
    public void Checked_mode_finds_nothing_in_long_loops([Values(LossKind.NtXent, LossKind.Clip)] LossKind kind, [Values(0.1f, 0.02f)] float temperature)
    {
        using IDisposable kernels = Products.HopperInTwoBlocks.Use();
        if (!TestDevice.IsEmulated) Assert.Ignore("Checked mode is the emulated driver's.");
        using IDisposable setting = Emulated.Checked();
        Assert.That(Run(Emulated.Device, Long(kind, temperature), Precision.BFloat16).Rows, Has.None.NaN);
    }

    /// <summary>Each side has a launch of its own, so what one gets does not depend on the other's being wanted.</summary>
    [Test]
    public void One_side_alone_gets_the_same_bits([Values(LossKind.InfoNce, LossKind.Clip, LossKind.SigLip)] LossKind kind)
    {
        using IDisposable kernels = Products.Hopper.Use();
        var p = new Problem(kind, 140, kind == LossKind.Clip ? 140 : 200, 64, 0.1f);
        Result both = Run(TestDevice.Cuda, p, Precision.BFloat16);
        Result rows = Run(TestDevice.Cuda, p, Precision.BFloat16, around: call => Pass(call with { GradKeys = default }));
        Result keys = Run(TestDevice.Cuda, p, Precision.BFloat16, around: call => Pass(call with { GradEmbeddings = default, GradTemperature = 0 }));
        Assert.That(rows.Rows, Is.EqualTo(both.Rows));
        Assert.That(rows.Temperature, Is.EqualTo(both.Temperature));
        Assert.That(rows.Columns, Is.All.EqualTo(-7f), "keys that want no gradient");
        Assert.That(keys.Columns, Is.EqualTo(both.Columns));
        Assert.That(keys.Rows, Is.All.EqualTo(-7f), "rows that want no gradient");

        static long Pass(LossCall call)
        {
            call.Forward(TestDevice.Cuda);
            call.Backward(TestDevice.Cuda);
            return 0;
        }
    }

    /// <summary>
    /// Zeros stand for the lines that a block has too many; where similarities of all that are there are far below, exponentials
    /// of those are infinite, and nothing of them may reach τ's gradient.
    /// </summary>
    [Test]
    public void Lines_that_are_not_there_add_nothing()
    {
        using IDisposable kernels = Products.Hopper.Use();
        const int Rows = 70;
        CudaDevice device = TestDevice.Cuda;
        using var scope = new TensorScope();
        Tensor rows = Tensor.Full(new(Rows, 1), 10, device), keys = Tensor.Full(new(Rows, 1), -10, device), gradRows = Tensor.Full(new(Rows, 1), -7, device);
        Tensor loss = Tensor.Zeros(new(), device), gradLoss = Tensor.Full(new(), 1, device), gradTemperature = Tensor.Zeros(new(), device);
        LossCall call = Describe(new(LossKind.Clip, Rows, Rows, 1, 0.1f, Normalize: false), Precision.BFloat16);
        (call.Embeddings, call.Keys, call.GradEmbeddings) = (new(rows.Pointer, 1), new(keys.Pointer, 1), new(gradRows.Pointer, 1));
        (call.Loss, call.GradLoss, call.GradTemperature) = (loss.Pointer, gradLoss.Pointer, gradTemperature.Pointer);
        Tensor saved = Tensor.Empty(new((int)(call.SavedBytes(device) / 4)), device), workspace = Tensor.Empty(new((int)(call.WorkspaceBytes(device) / 4)), device);
        (call.Saved, call.Workspace) = (saved.Pointer, workspace.Pointer);
        call.Forward(device);
        call.Backward(device);
        Assert.That(loss.ToArray()[0], Is.EqualTo(MathF.Log(Rows)).Within(1e-4f));
        // Nothing moves where all are alike, but for rounding of weights of 1/70, times 100 and 1/τ².
        Assert.That(gradTemperature.ToArray()[0], Is.EqualTo(0).Within(1e-2f));
        Assert.That(gradRows.ToArray(), Is.All.EqualTo(0).Within(1e-2f));
        GC.KeepAlive((rows, keys));
    }

    [Test]
    public void It_is_taken_up_to_a_dimension_of_128_and_takes_no_memory_for_weights()
    {
        Emulated.Only();
        using (Products.Hopper.Use())
        {
            foreach (LossKind kind in AllKinds)
            {
                Assert.That(Plan(kind, 8192, 1).IsFused && Plan(kind, 8192, 128).IsFused, kind.ToString());
                Assert.That(Plan(kind, 8192, 129).IsFused, Is.False, kind.ToString());
            }
            // Sums of a stripe and few floats per row, where the stripe of weights alone takes 32 MiB.
            foreach ((int rows, double most) in new[] { (1024, 8.7), (8192, 8.7), (16384, 8.7), (65536, 9.3) })
                Assert.That(Plan(LossKind.NtXent, rows, 128).BackwardBytes / (double)(1 << 20), Is.InRange(0.1, most), $"{rows} rows");
        }
        using (Products.HopperInStripes.Use()) Assert.That(Plan(LossKind.NtXent, 16384, 128).BackwardBytes, Is.GreaterThan(32 << 20));
        using (Products.BFloat16.Use()) Assert.That(Plan(LossKind.NtXent, 16384, 128).IsFused, Is.False);

        static ContrastPlan Plan(LossKind kind, int rows, int dim) => new(TestDevice.Cuda, Describe(new(kind, rows, rows, dim, 0.1f), Precision.BFloat16));
    }

    /// <summary>Slices cover the others once; where lines alone do not fill a large GPU, they do, at little more than an even share of the steps.</summary>
    [Test]
    public void Slices_fill_a_large_gpu()
    {
        foreach ((int lines, int others, int slices) in new[] { (16896, 16384, 1), (16384, 16384, 1), (8192, 8192, 2), (4096, 4096, 4), (8960, 8960, 3), (256, 65536, 64), (2, 2, 1), (130, 130, 3) })
        {
            (int actual, int perSlice) = ContrastFused.SlicesOf(ContrastFused.LargeGpu, lines, others);
            Assert.That(actual, Is.EqualTo(slices), $"{lines} lines, {others} others");
            Assert.That(perSlice % ContrastFused.Others, Is.Zero);
            Assert.That((long)perSlice * actual, Is.AtLeast(others));
            Assert.That((long)perSlice * (actual - 1), Is.LessThan(others));
        }
    }
}
