using KernelContrast.Augment;
using KernelContrast.Cli.Plots;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;
using SkiaSharp;

namespace KernelContrast.Cli.Tests;

[TestFixture]
internal sealed class PlotTests
{
    private static readonly string[] s_classes = ["zero", "one", "two"];

    [Test]
    public void The_space_has_its_panels_colours_and_texts()
    {
        using SKBitmap one = Decode(SpacePlot.Draw([Panel("", "")], Labels(), s_classes));
        using SKBitmap two = Decode(SpacePlot.Draw([Panel("", ""), Panel("After", "a note")], Labels(), s_classes));
        Assert.That((one.Width, two.Width), Is.EqualTo((560, 1100)));
        Assert.That(two.Height, Is.EqualTo(one.Height));
        for (int c = 0; c < 3; c++)
        {
            Assert.That(Count(one, Palette.Of(c, 3)), Is.GreaterThan(300), $"points of class {c}");
            Assert.That(Count(two, Palette.Of(c, 3)), Is.GreaterThan(1.7 * Count(one, Palette.Of(c, 3))), $"points of class {c} in two panels");
        }
        Assert.That(Ink(two, SKRectI.Create(540, 0, 560, 62)), Is.GreaterThan(300), "title and note of the second panel");
        Assert.That(Ink(two, SKRectI.Create(0, 0, 540, 62)), Is.Zero, "no title of the first panel");
    }

    [Test]
    public void The_legend_is_there_only_with_classes_and_takes_more_rows_for_many()
    {
        SKRectI foot = SKRectI.Create(0, 590, 560, 46);
        using SKBitmap none = Decode(SpacePlot.Draw([Panel("t", "")], Labels(), []));
        using SKBitmap named = Decode(SpacePlot.Draw([Panel("t", "")], Labels(), s_classes));
        using SKBitmap many = Decode(SpacePlot.Draw([Panel("t", "")], Labels(), [.. Enumerable.Range(0, 20).Select(i => $"class {i}")]));
        using SKBitmap hundred = Decode(SpacePlot.Draw([Panel("t", "")], Labels(), [.. Enumerable.Range(0, 100).Select(i => $"class {i}")]));
        Assert.That(Ink(none, foot), Is.Zero);
        Assert.That(Ink(named, foot), Is.GreaterThan(200));
        Assert.That(Ink(many, foot), Is.GreaterThan(600));
        Assert.That(many.Height, Is.GreaterThan(named.Height));
        int below = many.Height - 590;
        Assert.That(Ink(many, SKRectI.Create(0, 590, 12, below)) + Ink(many, SKRectI.Create(548, 590, 12, below)), Is.Zero, "nothing runs out of the picture");
        Assert.That(Ink(many, SKRectI.Create(0, many.Height - 4, 560, 4)), Is.Zero);
        Assert.That(Ink(hundred, foot), Is.GreaterThan(200));
    }

    [Test]
    public void Training_curves_have_titles_ticks_and_lines_and_survive_values_that_are_no_numbers()
    {
        double[] epochs = [1, 2, 3];
        using SKBitmap plain = Decode(TrainingPlot.Draw([new("l", epochs, [3, 2, 1])]));
        using SKBitmap titled = Decode(TrainingPlot.Draw([new("a long title", epochs, [3, 2, 1], ("collapse", 3.5)), new("empty", epochs, [double.NaN, double.NaN, double.NaN]),
            new("one", [1], [5]), new("gap", epochs, [1, double.PositiveInfinity, 1])]));
        Assert.That((plain.Width, plain.Height), Is.EqualTo((380, 290)));
        Assert.That((titled.Width, titled.Height), Is.EqualTo((3 * 380, 2 * 290)));
        SKRectI title = SKRectI.Create(40, 5, 320, 35);
        Assert.That(Ink(titled, title), Is.GreaterThan(5 * Ink(plain, title)).And.GreaterThan(100));
        Assert.That(Ink(plain, SKRectI.Create(40, 255, 330, 35)), Is.GreaterThan(60), "numbers and name of the epochs");
        Assert.That(Count(plain, Palette.Of(0, 10)), Is.GreaterThan(300), "the line");
        Assert.That(Count(titled, Palette.Of(3, 10)), Is.GreaterThan(150), "a line across the gap");
        Assert.That(() => TrainingPlot.Draw([]), Throws.ArgumentException);
    }

    [TestCase(1, 5, 7)]
    [TestCase(3, 28, 28)]
    [TestCase(3, 200, 100)]
    public void The_sheet_shows_the_originals_and_different_views(int channels, int height, int width)
    {
        byte[] pixels = new byte[12 * channels * height * width];
        new Random(1).NextBytes(pixels);
        var data = new MemoryDataset(pixels, null, channels, height, width);
        var recipe = (AugmentPreset.Digits with { Mean = [0.5f], StandardDeviation = [0.1f] }, AugmentPreset.Digits);
        using SKBitmap sheet = Decode(ViewSheet.Draw(data, [.. Enumerable.Range(0, 12)], recipe, 1, "title"));
        using SKBitmap again = Decode(ViewSheet.Draw(data, [.. Enumerable.Range(0, 12)], recipe, 1, ""));
        using SKBitmap other = Decode(ViewSheet.Draw(data, [.. Enumerable.Range(0, 12)], recipe, 2, "title"));
        // Ten in a band, and a second band for the other two.
        Assert.That(sheet.Width, Is.EqualTo(14 + 78 + 10 * 90 - 6 + 14));
        Assert.That(sheet.Height, Is.GreaterThan(2 * 3 * 84));
        Assert.That(Ink(sheet, SKRectI.Create(0, 0, 300, 40)), Is.GreaterThan(50));
        Assert.That(Ink(again, SKRectI.Create(0, 0, 300, 40)), Is.Zero);
        SKRectI originals = SKRectI.Create(92, 44, 894, 84), views = SKRectI.Create(92, 134, 894, 84);
        Assert.That(Differences(sheet, again, views), Is.Zero);
        Assert.That(Differences(sheet, other, originals), Is.LessThan(0.1));
        Assert.That(Differences(sheet, other, views), Is.GreaterThan(0.2));
    }

    [Test]
    public void A_palette_keeps_the_colours_of_a_simple_picture_and_is_not_used_for_a_rich_one()
    {
        using var picture = new Picture(64, 64);
        using var paint = new SKPaint { Color = new SKColor(201, 17, 99) };
        picture.Canvas.DrawRect(3, 5, 20, 10, paint);
        byte[] simple = picture.Encode();
        Assert.That(ColourType(simple), Is.EqualTo(3));
        using SKBitmap decoded = SKBitmap.Decode(simple);
        Assert.That(decoded.GetPixel(10, 10), Is.EqualTo(new SKColor(201, 17, 99)));
        Assert.That(decoded.GetPixel(60, 30), Is.EqualTo(SKColors.White));

        for (int i = 0; i < 64 * 64; i++)
        {
            paint.Color = new SKColor((byte)(i % 64 * 4), (byte)(i / 64 * 4), (byte)(i * 11 % 256));
            picture.Canvas.DrawPoint(i % 64, i / 64, paint);
        }
        byte[] rich = picture.Encode();
        Assert.That(ColourType(rich), Is.Not.EqualTo(3));
        using SKBitmap exact = SKBitmap.Decode(rich);
        Assert.That(exact.GetPixel(63, 63), Is.EqualTo(new SKColor(252, 252, 4095 * 11 % 256)));

        static int ColourType(byte[] png) => png[25];
    }

    [Test]
    public void The_file_is_a_small_png_and_the_bundled_font_draws_every_letter_we_use()
    {
        using var folder = new TemporaryFolder();
        string path = folder["space.png"];
        SpacePlot.Save(path, [Panel("Before", ""), Panel("After", "")], Labels(), s_classes);
        byte[] bytes = File.ReadAllBytes(path);
        Assert.That(bytes[..4], Is.EqualTo(new byte[] { 0x89, (byte)'P', (byte)'N', (byte)'G' }));
        Assert.That(bytes, Has.Length.LessThan(150_000));
        foreach (SKTypeface face in new[] { PlotFont.Regular, PlotFont.Semibold })
            Assert.That(face.GetGlyphs("abcxyzABCXYZ0123456789 %·.,:–-()±τλ×"), Has.All.Not.Zero, face.FamilyName);
    }

    private static SpacePanel Panel(string title, string note)
    {
        float[] points = [.. Enumerable.Range(0, 90).SelectMany(i => new[] { MathF.Cos(i) * (1 + i % 3), MathF.Sin(i) * (1 + i % 3) })];
        return new SpacePanel(title, note, new FeatureMatrix(points, 90, 2));
    }

    private static int[] Labels() => [.. Enumerable.Range(0, 90).Select(i => i % 3)];

    private static SKBitmap Decode(Picture picture)
    {
        using (picture) return SKBitmap.Decode(picture.Encode());
    }

    /// <summary>Pixels of nearly this colour: the palette moves it a little.</summary>
    private static int Count(SKBitmap bitmap, SKColor color) =>
        bitmap.Pixels.Count(p => Math.Abs(p.Red - color.Red) + Math.Abs(p.Green - color.Green) + Math.Abs(p.Blue - color.Blue) < 24);

    /// <summary>Pixels clearly darker than the background.</summary>
    private static int Ink(SKBitmap bitmap, SKRectI area) => Pixels(bitmap, area).Count(c => c.Red + c.Green + c.Blue < 600);

    /// <summary>Share of pixels that differ visibly.</summary>
    private static double Differences(SKBitmap a, SKBitmap b, SKRectI area) => Pixels(a, area).Zip(Pixels(b, area),
        (x, y) => Math.Abs(x.Red - y.Red) + Math.Abs(x.Green - y.Green) + Math.Abs(x.Blue - y.Blue) > 60 ? 1.0 : 0).Average();

    private static IEnumerable<SKColor> Pixels(SKBitmap bitmap, SKRectI area)
    {
        SKColor[] all = bitmap.Pixels;
        for (int y = area.Top; y < area.Bottom; y++)
            for (int x = area.Left; x < area.Right; x++) yield return all[y * bitmap.Width + x];
    }
}
