using KernelContrast.Augment;

namespace KernelContrast.Tests;

/// <summary>Whether what is drawn follows the papers: ranges, probabilities, independence of one draw from another.</summary>
[TestFixture]
internal sealed class AugmentDistributionTests
{
    private const int Samples = 20000;

    private static ViewParameters[] Draw(ViewRecipe recipe, int height, int width, ulong seed = 11) =>
        [.. Enumerable.Range(0, Samples).Select(i => ViewParameters.Draw(recipe, new ViewCounter(seed, 1, (uint)i, 0), height, width, height, width))];

    // five standard deviations of a fraction of that many samples
    private static double Slack(double p, int samples = Samples) => 5 * Math.Sqrt(p * (1 - p) / samples) + 1e-9;

    private static IEnumerable<TestCaseData> Presets()
    {
        yield return new TestCaseData(AugmentPreset.SimClr, 0.08, 0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5, 0.0).SetArgDisplayNames("simclr");
        yield return new TestCaseData(AugmentPreset.Cifar, 0.08, 0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.0, 0.0).SetArgDisplayNames("cifar");
        yield return new TestCaseData(AugmentPreset.MoCoV2, 0.2, 0.8, 0.4, 0.4, 0.4, 0.1, 0.2, 0.5, 0.0).SetArgDisplayNames("moco-v2");
        yield return new TestCaseData(AugmentPreset.ByolFirst, 0.08, 0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 1.0, 0.0).SetArgDisplayNames("byol-1");
        yield return new TestCaseData(AugmentPreset.ByolSecond, 0.08, 0.8, 0.4, 0.4, 0.2, 0.1, 0.2, 0.1, 0.2).SetArgDisplayNames("byol-2");
    }

    [TestCaseSource(nameof(Presets))]
    public void Ranges_and_probabilities_are_the_papers(ViewRecipe recipe, double minArea, double jitter, double brightness,
        double contrast, double saturation, double hue, double greyscale, double blur, double solarize)
    {
        ViewParameters[] all = Draw(recipe, 224, 224);
        Share(all, p => p.Flip, 0.5);
        Share(all, p => p.JitterOrder >= 0, jitter);
        Share(all, p => p.Greyscale, greyscale);
        Share(all, p => p.BlurSigma > 0, blur);
        Share(all, p => p.Solarize, solarize);
        ViewParameters[] jittered = [.. all.Where(p => p.JitterOrder >= 0)];
        Uniform([.. jittered.Select(p => (double)p.Brightness)], 1 - brightness, 1 + brightness);
        Uniform([.. jittered.Select(p => (double)p.Contrast)], 1 - contrast, 1 + contrast);
        Uniform([.. jittered.Select(p => (double)p.Saturation)], 1 - saturation, 1 + saturation);
        Uniform([.. jittered.Select(p => (double)p.Hue)], -hue, hue);
        for (int order = 0; order < 24; order++) Share(jittered, p => p.JitterOrder == order, 1.0 / 24);
        if (blur > 0) Uniform([.. all.Where(p => p.BlurSigma > 0).Select(p => (double)p.BlurSigma)], 0.1, 2);

        double[] areas = [.. all.Select(p => p.Width * p.Height / (224.0 * 224))], aspects = [.. all.Select(p => (double)p.Width / p.Height)];
        // whole pixels: half a pixel either way on sides of at least 50
        Assert.That((areas.Min(), areas.Max(), aspects.Min(), aspects.Max()), Is.EqualTo((minArea, 1.0, 0.75, 4 / 3.0)).Within(0.03));
        Assert.That(areas.Min(), Is.GreaterThan(minArea * 0.97));
        // the logarithm of the aspect is uniform, so small and square are as likely as wide; large ones are cut at the border
        ViewParameters[] small = [.. all.Where(p => p.Width * p.Height < 0.5 * 224 * 224)];
        Assert.That(small.Average(p => Math.Log((double)p.Width / p.Height)), Is.Zero.Within(5 * 0.17 / Math.Sqrt(small.Length)));
        Assert.That(all, Has.All.Matches<ViewParameters>(p => p.Left >= 0 && p.Top >= 0 && p.Left + p.Width <= 224 && p.Top + p.Height <= 224));
        Uniform([.. small.Select(p => (p.Left + 0.5) / (224 - p.Width + 1))], 0, 1);
        Uniform([.. small.Select(p => (p.Top + 0.5) / (224 - p.Height + 1))], 0, 1);
    }

    [Test]
    public void A_crop_that_cannot_fit_is_the_middle_with_an_allowed_aspect()
    {
        var recipe = new ViewRecipe { MinArea = 0.9f, MaxArea = 1 };
        ViewParameters[] wide = Draw(recipe, 10, 100), tall = Draw(recipe, 100, 10);
        Assert.That(wide, Has.All.Matches<ViewParameters>(p => (p.Left, p.Top, p.Width, p.Height) == (43, 0, 13, 10)));
        Assert.That(tall, Has.All.Matches<ViewParameters>(p => (p.Left, p.Top, p.Width, p.Height) == (0, 43, 10, 13)));
        Assert.That(Draw(recipe, 1, 1), Has.All.Matches<ViewParameters>(p => p.Width == 1 && p.Height == 1));
    }

    [Test]
    public void Digits_are_turned_sheared_and_never_flipped()
    {
        ViewParameters[] all = Draw(AugmentPreset.Digits with { MinArea = 1 }, 28, 28);
        Assert.That(all, Has.None.Matches<ViewParameters>(p => p.Flip));
        // without a crop the map is R(angle) · S(shear)
        Uniform([.. all.Select(p => Math.Atan2(p.Yx, p.Xx) * 180 / Math.PI)], -25, 25);
        Uniform([.. all.Select(p => (double)(p.Xx * p.Xy + p.Yx * p.Yy))], -0.2, 0.2);
        Assert.That(all, Has.All.Matches<ViewParameters>(p => Math.Abs(p.Xx * p.Yy - p.Xy * p.Yx - 1) < 1e-5 && p.X0 == 14 && p.Y0 == 14));
        Uniform([.. all.Select(p => (double)p.Noise)], 0, 0.05);
        ViewParameters[] shifted = Draw(new ViewRecipe { MaxTranslation = 0.25f }, 20, 40);
        Uniform([.. shifted.Select(p => (double)p.X0)], 10, 30);
        Uniform([.. shifted.Select(p => (double)p.Y0)], 5, 15);
    }

    [Test]
    public void Noise_has_its_deviation_and_no_bias()
    {
        var counter = new ViewCounter(3, 0, 0, 0);
        double sum = 0, squares = 0;
        const int count = 100_000;
        for (uint i = 0; i < count; i++)
        {
            uint word = counter.Bits(DrawOp.Noise, i).X;
            double n = ((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24) - 510.0) / AugmentOp.NoiseByteSumDeviation;
            (sum, squares) = (sum + n, squares + n * n);
        }
        Assert.That(sum / count, Is.Zero.Within(5 / Math.Sqrt(count)));
        Assert.That(squares / count, Is.EqualTo(1).Within(0.02));
    }

    [Test]
    public void Draws_of_different_operations_views_and_samples_are_unrelated()
    {
        float[] flips = Units(0, DrawOp.Flip);
        foreach (float[] other in new[] { Units(0, DrawOp.Blur), Units(1, DrawOp.Flip), [.. Units(0, DrawOp.Flip).Skip(1), 0] })
        {
            double correlation = flips.Zip(other, (a, b) => (a - 0.5) * (b - 0.5)).Sum() / Samples * 12;
            Assert.That(correlation, Is.Zero.Within(5 / Math.Sqrt(Samples)));
        }

        static float[] Units(uint view, DrawOp op) =>
            [.. Enumerable.Range(0, Samples).Select(i => new ViewCounter(5, 0, (uint)i, view).Units(op).X)];
    }

    private static void Share(ViewParameters[] all, Func<ViewParameters, bool> of, double expected) =>
        Assert.That((double)all.Count(of) / all.Length, Is.EqualTo(expected).Within(Slack(expected, all.Length)));

    // within the range, reaching both ends, and a tenth in every tenth
    private static void Uniform(double[] values, double low, double high)
    {
        double width = high - low, slack = Slack(0.1, values.Length) * 1.5;
        Assert.That(values.Min(), Is.GreaterThanOrEqualTo(low - 1e-5).And.LessThan(low + 0.02 * width));
        Assert.That(values.Max(), Is.LessThanOrEqualTo(high + 1e-5).And.GreaterThan(high - 0.02 * width));
        for (int tenth = 0; tenth < 10; tenth++)
        {
            double from = low + width * tenth / 10, to = low + width * (tenth + 1) / 10;
            Assert.That((double)values.Count(v => v >= from && v < to) / values.Length, Is.EqualTo(0.1).Within(slack), $"{from} to {to}");
        }
    }
}
