using CsCheck;
using KernelContrast.Augment;
using KernelContrast.Cases;
using KernelContrast.Datasets;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class AugmentTests
{
    private static readonly int[] s_widths = [.. new[] { 128, 256, 512 }.Where(b => b <= Simd.HardwareBits)];

    // Smooth colour with some noise and some saturated pixels.
    internal static MemoryDataset Images(int count, int channels, int height, int width, ulong seed = 1)
    {
        var random = new PhiloxStream(seed, 7);
        var pixels = new byte[count * channels * height * width];
        for (int i = 0; i < pixels.Length; i++)
        {
            int x = i % width, y = i / width % height, c = i / width / height % channels;
            double wave = 127 + 120 * Math.Sin(0.3 * x + 0.2 * y * (c + 1) + i / (height * width * channels));
            pixels[i] = (byte)Math.Clamp(wave + random.NextInt32(60) - 30, 0, 255);
        }
        return new MemoryDataset(pixels, null, channels, height, width);
    }

    /// <summary>Every preset's two recipes, and more.</summary>
    internal static IEnumerable<(string Name, ViewRecipe First, ViewRecipe Second)> Recipes() =>
    [
        .. AugmentPreset.Names.Select(name => (name, AugmentPreset.Get(name).First, AugmentPreset.Get(name).Second)),
        .. s_recipes.Where(r => r.Name is "everything" or "shift" or "smaller" or "larger" or "aliased" or "bilinear-aliased").Select(r => (r.Name, r.Recipe, r.Recipe)),
    ];

    private static readonly (string Name, ViewRecipe Recipe)[] s_recipes = AllRecipes();

    private static (string Name, ViewRecipe Recipe)[] AllRecipes()
    {
        var everything = AugmentPreset.SimClr with { SolarizeProbability = 0.5f, SolarizeThreshold = 0.4f, MaxNoise = 0.1f, Mean = [0.5f], StandardDeviation = [0.25f] };
        return
        [
            ("simclr", AugmentPreset.SimClr), ("cifar", AugmentPreset.Cifar), ("moco-v2", AugmentPreset.MoCoV2),
            ("byol-1", AugmentPreset.ByolFirst), ("byol-2", AugmentPreset.ByolSecond), ("digits", AugmentPreset.Digits),
            ("everything", everything),
            ("shift", new ViewRecipe { MaxTranslation = 0.4f, FlipProbability = 0.5f, MaxRotation = 180 }),
            ("smaller", everything with { OutputHeight = 7, OutputWidth = 10, BlurRadius = 9 }),
            ("larger", everything with { OutputHeight = 50, OutputWidth = 37 }),
            ("aliased", new ViewRecipe { MinArea = 0.1f, Interpolation = Interpolation.Bicubic, Antialias = false, OutputHeight = 9, OutputWidth = 41 }),
            ("bilinear-aliased", new ViewRecipe { MinArea = 0.1f, Antialias = false, OutputHeight = 9, OutputWidth = 41, FlipProbability = 1 }),
        ];
    }

    private static IEnumerable<TestCaseData> ReferenceCases()
    {
        (int C, int H, int W)[] sizes = [(3, 32, 32), (1, 28, 28), (3, 17, 23), (1, 40, 9), (3, 3, 3)];
        foreach (var (name, recipe) in s_recipes)
            foreach (var (c, h, w) in sizes)
                foreach (int bits in s_widths)
                    yield return new TestCaseData(recipe, c, h, w, bits).SetArgDisplayNames(name, $"{c}x{h}x{w}", $"cpu-{bits}");
    }

    [TestCaseSource(nameof(ReferenceCases))]
    public void A_view_matches_the_double_reference(ViewRecipe recipe, int channels, int height, int width, int bits)
    {
        using var limit = Simd.Limit(bits);
        const int count = 6;
        MemoryDataset data = Images(count, channels, height, width);
        var pipeline = new Pipeline(recipe, recipe, seed: 3);
        // memory starts as NaN and has guards around it, the kernels' scratch included
        Device.Cpu.Pool.TakeGuardViolations();
        Device.Cpu.Pool.Checked = true;
        float[] actual;
        Shape shape;
        try
        {
            using Tensor views = pipeline.View(ImageBatch.Of(data, 0, count), epoch: 2, view: 1);
            (actual, shape) = (views.ToArray(), views.Shape);
        }
        finally { Device.Cpu.Pool.Checked = false; }
        Assert.That(Device.Cpu.Pool.TakeGuardViolations(), Is.Zero);
        int outHeight = shape[2], outWidth = shape[3], size = channels * outHeight * outWidth;
        var image = new byte[data.PixelsPerImage];
        double scale = recipe.StandardDeviation.Length > 0 ? 1 / recipe.StandardDeviation.Min() : 1;
        for (int i = 0; i < count; i++)
        {
            data.Read(i, image);
            ViewParameters p = pipeline.Parameters(data, 2, i, 1);
            double[] expected = [.. AugmentReference.View(image, channels, height, width, recipe, p, outHeight, outWidth).SelectMany(c => c.SelectMany(r => r))];
            int wrong = 0;
            for (int k = 0; k < size; k++)
                // written so that a NaN is wrong
                if (!(Math.Abs(actual[i * size + k] - expected[k]) <= 2e-5 * scale)) wrong++;
            // a pixel within rounding of the solarize threshold may fall on either side
            Assert.That(wrong, Is.LessThanOrEqualTo(p.Solarize && recipe.SolarizeThreshold != 0.5f ? 1 : 0), $"image {i}: {p.JitterOrder}");
        }
    }

    [TestCase(1)]
    [TestCase(3)]
    public void No_recipe_gives_the_bytes_over_255(int channels)
    {
        MemoryDataset data = Images(5, channels, 13, 19);
        ImageBatch batch = ImageBatch.Of(data, 0, 5);
        using Tensor views = Pipeline.Plain(batch);
        Assert.That(views.ToArray(), Is.EqualTo(batch.Pixels.Select(p => p * (1f / 255))));
        var normalise = new ViewRecipe { Mean = [0.5f], StandardDeviation = [0.25f], FlipProbability = 1, MinArea = 0.1f };
        using Tensor plain = Pipeline.Plain(batch, normalise);
        Assert.That(plain.ToArray(), Is.EqualTo(batch.Pixels.Select(p => (p * (1f / 255) - 0.5f) / 0.25f)).Within(1e-5));
    }

    [Test]
    public void Views_do_not_depend_on_threads_or_on_how_batches_are_split()
    {
        MemoryDataset data = Images(40, 3, 20, 24);
        int before = Device.Cpu.Threads;
        try
        {
            foreach (string preset in AugmentPreset.Names)
            {
                var pipeline = new Pipeline(preset, seed: 9);
                Device.Cpu.Threads = 1;
                using Tensor whole = pipeline.TwoViews(ImageBatch.Of(data, 0, 40), 4);
                float[] expected = whole.ToArray();
                int size = 3 * 20 * 24;
                foreach (int threads in new[] { 2, 3 })
                {
                    Device.Cpu.Threads = threads;
                    Gen.Shuffle(Enumerable.Range(0, 40).ToArray()).Select(Gen.Int[1, 40]).Sample((order, taken) =>
                    {
                        int[] some = order[..taken];
                        ImageBatch batch = new ImageBatch(data, taken).Fill(data, some);
                        using Tensor views = pipeline.TwoViews(batch, 4);
                        float[] actual = views.ToArray();
                        for (int i = 0; i < taken; i++)
                            for (int view = 0; view < 2; view++)
                                if (!actual.AsSpan((view * taken + i) * size, size).SequenceEqual(expected.AsSpan((view * 40 + some[i]) * size, size)))
                                    throw new AssertionException($"{preset}: image {some[i]}, view {view}, {threads} threads");
                    }, iter: 5, threads: 1);
                }
            }
        }
        finally { Device.Cpu.Threads = before; }
    }

    [Test]
    public void Seed_epoch_sample_and_view_each_change_the_view()
    {
        MemoryDataset same = Repeated(2);
        ImageBatch batch = ImageBatch.Of(same, 0, 2);
        var pipeline = new Pipeline("simclr", seed: 1);
        float[] a = Row(pipeline, 0, 0, 0);
        Assert.That(Row(pipeline, 0, 0, 0), Is.EqualTo(a));
        Assert.That(Row(pipeline, 0, 0, 1), Is.Not.EqualTo(a), "sample");
        Assert.That(Row(pipeline, 0, 1, 0), Is.Not.EqualTo(a), "view");
        Assert.That(Row(pipeline, 1, 0, 0), Is.Not.EqualTo(a), "epoch");
        Assert.That(Row(new Pipeline("simclr", seed: 2), 0, 0, 0), Is.Not.EqualTo(a), "seed");
        Assert.That(Row(new Pipeline("simclr", seed: 1ul << 32 | 1), 0, 0, 0), Is.Not.EqualTo(a), "seed's upper half");

        float[] Row(Pipeline from, int epoch, int view, int image)
        {
            using Tensor views = from.View(batch, epoch, view);
            int size = 3 * 16 * 16;
            return views.ToArray()[(image * size)..((image + 1) * size)];
        }
    }

    private static MemoryDataset Repeated(int count)
    {
        var one = new byte[3 * 16 * 16];
        Images(1, 3, 16, 16).Read(0, one);
        return new MemoryDataset([.. Enumerable.Repeat(one, count).SelectMany(x => x)], null, 3, 16, 16);
    }

    [Test]
    public void All_orders_of_jitter_are_permutations_and_differ()
    {
        var orders = new HashSet<string>();
        Span<int> order = stackalloc int[4];
        for (int i = 0; i < 24; i++)
        {
            AugmentOp.JitterOrder(i, order);
            Assert.That(order.ToArray().Order(), Is.EqualTo([0, 1, 2, 3]));
            orders.Add(string.Join(',', order.ToArray()));
        }
        Assert.That(orders, Has.Count.EqualTo(24));
    }

    [Test]
    public void A_wrong_recipe_or_preset_is_named()
    {
        Assert.That(() => new Pipeline("simclr2", 0), Throws.ArgumentException.With.Message.Contains("moco-v2"));
        Bad(new ViewRecipe { MinArea = 0 }, "area");
        Bad(new ViewRecipe { MinAspect = 2 }, "aspect");
        Bad(new ViewRecipe { FlipProbability = 1.5f }, "flip");
        Bad(new ViewRecipe { FlipProbability = float.NaN }, "flip");
        Bad(new ViewRecipe { Hue = 0.6f }, "hue");
        Bad(new ViewRecipe { BlurProbability = 0.5f, MinBlurSigma = 0 }, "blur");
        Bad(new ViewRecipe { MaxRotation = 5, Interpolation = Interpolation.Bicubic }, "bilinear");
        Bad(new ViewRecipe { Mean = [0.5f] }, "deviation");
        Assert.That(() => new Pipeline(new ViewRecipe { OutputHeight = 8 }, new ViewRecipe(), 0), Throws.ArgumentException.With.Message.Contains("one size"));

        static void Bad(ViewRecipe recipe, string expected) =>
            Assert.That(() => new Pipeline(recipe, recipe, 0), Throws.ArgumentException.With.Message.Contains(expected));
    }
}
