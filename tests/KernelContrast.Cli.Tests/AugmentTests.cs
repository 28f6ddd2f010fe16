using SkiaSharp;

namespace KernelContrast.Cli.Tests;

[TestFixture]
internal sealed class AugmentTests
{
    [Test]
    public void A_sheet_is_written_and_depends_on_preset_and_seed_alone()
    {
        using var folder = new TemporaryFolder();
        TestImages.WriteIdx(folder["data"], 30, 3, classes: 3);
        Tool run = Tool.Run("augment", "--data", folder["data"], "--preset", "digits", "--count", "12", "--out", folder["a.png"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.Trim(), Is.EqualTo($"Wrote {folder["a.png"]}: 12 images."));
        using (SKBitmap sheet = SKBitmap.Decode(folder["a.png"])) Assert.That(sheet.Width, Is.EqualTo(1000));
        Sheet("again.png", "--preset", "digits", "--count", "12");
        Sheet("seed.png", "--preset", "digits", "--count", "12", "--seed", "1");
        Sheet("preset.png", "--preset", "cifar", "--count", "12");
        Sheet("first.png", "--preset", "digits", "--count", "12", "--first", "25");
        Assert.That(File.ReadAllBytes(folder["again.png"]), Is.EqualTo(File.ReadAllBytes(folder["a.png"])));
        foreach (string other in new[] { "seed.png", "preset.png", "first.png" })
            Assert.That(File.ReadAllBytes(folder[other]), Is.Not.EqualTo(File.ReadAllBytes(folder["a.png"])), other);

        void Sheet(string name, params string[] options) =>
            Assert.That(Tool.Run(["augment", "--data", folder["data"], "--out", folder[name], .. options]).ExitCode, Is.Zero, name);
    }

    [TestCase("digits", 1)]
    [TestCase("byol", 3)]
    public void The_emulated_device_draws_the_cpus_picture(string preset, int channels)
    {
        using var folder = new TemporaryFolder();
        if (channels == 1) TestImages.WriteIdx(folder["data"], 30, 3, classes: 3);
        else TestImages.WriteFolder(folder["data"], classes: 3, perClass: 4);
        foreach (string device in new[] { "cpu", "cuda-emulated" })
        {
            Tool run = Tool.Run("augment", "--data", folder["data"], "--preset", preset, "--count", "12", "--device", device, "--out", folder[$"{device}.png"]);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
        }
        using SKBitmap expected = SKBitmap.Decode(folder["cpu.png"]), actual = SKBitmap.Decode(folder["cuda-emulated.png"]);
        Assert.That(actual.Info.Size, Is.EqualTo(expected.Info.Size));
        ReadOnlySpan<byte> e = expected.GetPixelSpan(), a = actual.GetPixelSpan();
        int worst = 0;
        for (int i = 0; i < e.Length; i++) worst = Math.Max(worst, Math.Abs(a[i] - e[i]));
        Assert.That(worst, Is.LessThanOrEqualTo(1));
    }

    [Test]
    public void What_cannot_be_is_refused_and_writes_nothing()
    {
        using var folder = new TemporaryFolder();
        string images = folder["data"];
        TestImages.WriteIdx(images, 3, 3, classes: 3);
        Tool.Refuses(["augment"], "--data");
        Tool.Refuses(["augment", "--data", folder["nowhere"]], "nowhere");
        Tool.Refuses(["augment", "--data", images, "--preset", "simclear", "--out", folder["x.png"]], "simclear", "moco-v2");
        Tool.Refuses(["augment", "--data", images, "--count", "0", "--out", folder["x.png"]], "--count is 0");
        Tool.Refuses(["augment", "--data", images, "--first", "3", "--out", folder["x.png"]], "0 to 2");
        Tool.Refuses(["augment", "--data", images, "--split", "middle", "--out", folder["x.png"]], "middle");
        Tool.Refuses(["augment", "--data", images, "--out", folder["no/such/x.png"]], "does not exist");
        Assert.That(File.Exists(folder["x.png"]), Is.False);
    }
}
