using KernelContrast.Augment;
using KernelContrast.Datasets;

namespace KernelContrast.Tests;

/// <summary>The views of the CUDA kernels are those of the CPU: to the bit, where no sum is free in its order and no exponential is taken.</summary>
[TestFixture]
internal sealed class AugmentCudaTests
{
    /// <summary>
    /// Between two devices, before normalisation: contrast's mean and the blur's weights are off by a few roundings, and
    /// contrast, saturation and brightness each magnify by up to 1.8.
    /// </summary>
    private const float Tolerance = 2e-6f;

    private const int Count = 5;

    private static IEnumerable<TestCaseData> Cases()
    {
        foreach ((int channels, int height, int width) in new[] { (3, 20, 24), (1, 28, 28), (3, 17, 23), (1, 40, 9), (3, 3, 3), (3, 1, 5) })
            foreach ((string name, ViewRecipe first, ViewRecipe second) in AugmentTests.Recipes())
                foreach (bool shared in new[] { true, false })
                    yield return new TestCaseData(first, second, channels, height, width, shared)
                        .SetArgDisplayNames(name, $"{channels}x{height}x{width}", shared ? "shared" : "global");
    }

    [TestCaseSource(nameof(Cases))]
    public void Both_views_are_the_cpus(ViewRecipe first, ViewRecipe second, int channels, int height, int width, bool shared)
    {
        MemoryDataset data = AugmentTests.Images(Count, channels, height, width);
        var pipeline = new Pipeline(first, second, seed: 3);
        ImageBatch batch = new ImageBatch(data, Count).Fill(data, [4, 0, 3, 1, 2]);
        using Tensor expected = pipeline.TwoViews(batch, epoch: 2);
        var kernels = new AugmentOp.Cuda { MostSharedBytes = shared ? int.MaxValue : 0 };
        ViewParameters[] parameters = [.. Enumerable.Range(0, 2 * Count).Select(v => pipeline.Parameters(data, 2, batch.Indices[v % Count], v / Count))];
        using Tensor actual = Tensor.Empty(expected.Shape, TestDevice.Cuda);
        TestDevice.Cuda.Pool.Exact = true;
        try { kernels.Forward(actual, batch, [first, second], parameters); }
        finally { TestDevice.Cuda.Pool.Exact = false; }

        float[] a = actual.ToArray(), e = expected.ToArray();
        float scale = first.StandardDeviation.Length > 0 ? 1 / first.StandardDeviation.Min() : 1;
        int size = a.Length / parameters.Length, exact = 0;
        for (int v = 0; v < parameters.Length; v++)
        {
            ViewParameters p = parameters[v];
            ViewRecipe recipe = v < Count ? first : second;
            bool sameBits = (p.JitterOrder < 0 || recipe.Contrast == 0) && p.BlurSigma == 0;
            bool aside = p.Solarize && !sameBits && recipe.SolarizeThreshold != 0.5f; // a pixel near the threshold may fall on either side
            int wrong = 0;
            for (int i = v * size; i < (v + 1) * size; i++)
                // written so that a NaN is wrong
                if (!(sameBits ? a[i] == e[i] : Math.Abs(a[i] - e[i]) <= Tolerance * scale))
                    if (wrong++ >= (aside ? 1 : 0)) Assert.Fail($"view {v}, element {i - v * size} is {a[i]:G9}, on the CPU {e[i]:G9}; same bits: {sameBits}, order {p.JitterOrder}");
            if (sameBits) exact++;
        }
        if (first.JitterProbability == 0 && first.BlurProbability == 0) Assert.That(exact, Is.EqualTo(parameters.Length));
    }

    [TestCaseSource(nameof(Cases))]
    public void Views_in_bfloat16_are_the_float_views_rounded_once(ViewRecipe first, ViewRecipe second, int channels, int height, int width, bool shared)
    {
        MemoryDataset data = AugmentTests.Images(Count, channels, height, width);
        var pipeline = new Pipeline(first, second, seed: 3);
        ImageBatch batch = new ImageBatch(data, Count).Fill(data, [4, 0, 3, 1, 2]);
        var kernels = new AugmentOp.Cuda { MostSharedBytes = shared ? int.MaxValue : 0, MostBlocks = 3 };
        ViewParameters[] parameters = [.. Enumerable.Range(0, 2 * Count).Select(v => pipeline.Parameters(data, 2, batch.Indices[v % Count], v / Count))];
        var shape = new Shape(2 * Count, channels, first.OutputHeight > 0 ? first.OutputHeight : height, first.OutputWidth > 0 ? first.OutputWidth : width);
        using Tensor wide = Tensor.Empty(shape, TestDevice.Cuda), half = Tensor.Empty(shape, TestDevice.Cuda, DType.BFloat16);
        kernels.Forward(wide, batch, [first, second], parameters);
        TestDevice.Cuda.Pool.Exact = true;
        try { kernels.Forward(half, batch, [first, second], parameters); }
        finally { TestDevice.Cuda.Pool.Exact = false; }
        AssertRounded(half, wide);
    }

    [Test]
    public void The_pipeline_makes_bfloat16_views_on_every_device_and_no_others()
    {
        MemoryDataset data = AugmentTests.Images(3, 3, 10, 12);
        var pipeline = new Pipeline("simclr", seed: 6);
        ImageBatch batch = ImageBatch.Of(data, 0, 3);
        foreach (Device device in new Device[] { Device.Cpu, TestDevice.Cuda })
        {
            using Tensor wide = pipeline.TwoViews(batch, 1, device), half = pipeline.TwoViews(batch, 1, device, DType.BFloat16);
            using Tensor second = pipeline.View(batch, 1, 1, device, DType.BFloat16);
            Assert.That((wide.Type, second.Type), Is.EqualTo((DType.Float32, DType.BFloat16)));
            AssertRounded(half, wide);
            Assert.That(second.ToArray<ushort>(), Is.EqualTo(half.ToArray<ushort>()[(int)second.Count..]));
            Assert.That(() => pipeline.TwoViews(batch, 1, device, DType.UInt8), Throws.ArgumentException.With.Message.Contains("UInt8"));
        }
    }

    /// <summary>To nearest, ties to even, by the bits of the numbers.</summary>
    private static void AssertRounded(Tensor half, Tensor wide)
    {
        float[] floats = wide.ToArray();
        ushort[] actual = half.ToArray<ushort>(), expected = [.. floats.Select(x => (ushort)(Half(x) >> 16))];
        Assert.That(half.Type, Is.EqualTo(DType.BFloat16));
        Assert.That(half.Shape, Is.EqualTo(wide.Shape));
        Assert.That(floats, Has.All.Matches<float>(float.IsFinite));
        Assert.That(actual, Is.EqualTo(expected));

        static uint Half(float x)
        {
            uint bits = BitConverter.SingleToUInt32Bits(x), rest = bits & 0xffff, kept = bits & 0xffff0000;
            return rest > 0x8000 || (rest == 0x8000 && (kept & 0x10000) != 0) ? kept + 0x10000 : kept;
        }
    }

    [Test]
    public void Planes_too_large_for_shared_memory_go_through_global_memory_a_few_views_at_a_time()
    {
        MemoryDataset data = AugmentTests.Images(3, 3, 150, 130);
        var pipeline = new Pipeline("byol", seed: 4);
        ImageBatch batch = ImageBatch.Of(data, 0, 3);
        Assert.That(TestDevice.Cuda.SharedBytesPerBlock, Is.LessThan(4 * 150 * 130 * 4));
        using Tensor expected = pipeline.TwoViews(batch, 1), actual = pipeline.TwoViews(batch, 1, TestDevice.Cuda);
        Assert.That(actual.Device, Is.SameAs(TestDevice.Cuda));
        Assert.That(actual.ToArray(), Is.EqualTo(expected.ToArray()).Within(Tolerance / 0.224f));
    }

    [TestCase(true)]
    [TestCase(false)]
    public void A_grid_smaller_than_the_views_takes_several_each(bool shared)
    {
        // noise and solarize as well: each view's planes are used again for the next
        ViewRecipe recipe = AugmentPreset.SimClr with { BlurProbability = 1, MaxNoise = 0.1f, SolarizeProbability = 0.5f };
        MemoryDataset data = AugmentTests.Images(9, 3, 10, 12);
        var pipeline = new Pipeline(recipe, recipe, seed: 6);
        ImageBatch batch = ImageBatch.Of(data, 0, 9);
        foreach (string order in Emulated.Orders)
        {
            using IDisposable setting = Emulated.InOrder(order);
            using Tensor whole = pipeline.TwoViews(batch, 0, TestDevice.Cuda), part = Tensor.Empty(whole.Shape, TestDevice.Cuda);
            ViewParameters[] parameters = [.. Enumerable.Range(0, 18).Select(v => pipeline.Parameters(data, 0, v % 9, v / 9))];
            new AugmentOp.Cuda { MostSharedBytes = shared ? int.MaxValue : 0, MostBlocks = 4 }.Forward(part, batch, [recipe, recipe], parameters);
            Assert.That(part.ToArray(), Is.EqualTo(whole.ToArray()), order);
        }
    }

    [Test]
    public void Images_that_are_on_the_device_already_are_read_there()
    {
        MemoryDataset data = AugmentTests.Images(9, 3, 10, 12);
        var pipeline = new Pipeline("simclr", seed: 6);
        var pixels = new byte[9 * data.PixelsPerImage];
        for (int i = 0; i < 9; i++) data.Read(i, pixels.AsSpan(i * data.PixelsPerImage, data.PixelsPerImage));
        using Tensor all = Tensor.From<byte>(pixels, new(9, data.PixelsPerImage), TestDevice.Cuda);
        ImageBatch here = new ImageBatch(data, 4).Fill(data, [7, 2, 8, 0]), there = new ImageBatch(data, 4, all).Fill(data, [7, 2, 8, 0]);
        Assert.That(there.Pixels, Is.Empty);
        using Tensor expected = pipeline.TwoViews(here, 1, TestDevice.Cuda), actual = pipeline.TwoViews(there, 1, TestDevice.Cuda);
        Assert.That(actual.ToArray(), Is.EqualTo(expected.ToArray()));
        Assert.That(() => pipeline.TwoViews(there, 1), Throws.ArgumentException.With.Message.Contains($"are on {TestDevice.CudaName}"));
    }
}
