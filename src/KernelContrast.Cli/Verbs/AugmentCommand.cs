using System.CommandLine;
using KernelContrast.Augment;
using KernelContrast.Cli.Plots;
using KernelContrast.Datasets;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>augment</c>: what the encoder gets to see.</summary>
internal static class AugmentCommand
{
    private const int Most = 200;

    internal static VerbCommand Create()
    {
        var data = new DataOptions();
        var preset = new Option<string>("--preset") { Description = $"The recipe: {string.Join(", ", AugmentPreset.Names)}", HelpName = "NAME", DefaultValueFactory = _ => "simclr" };
        var first = new Option<int>("--first") { Description = "Index of the first image", HelpName = "I" };
        var count = new Option<int>("--count") { Description = $"Number of images, up to {Most}", HelpName = "N", DefaultValueFactory = _ => 10 };
        var seed = new Option<ulong>("--seed") { Description = "Seed of the random numbers", HelpName = "N" };
        var output = new Option<string>("--out") { Description = "The PNG to write", HelpName = "FILE", DefaultValueFactory = _ => "views.png" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("augment", "Draw a sheet of images, each with the two views that training makes of it.",
            "kernelcontrast augment --data DIR --preset digits --count 20 --out views.png") { preset, first, count, seed, output };
        data.AddTo(verb, split: "train");
        device.AddTo(verb);
        verb.Outputs = [output];
        verb.SetAction(parsed =>
        {
            string name = parsed.GetValue(preset)!;
            if (!AugmentPreset.Names.Contains(name)) throw new UserError($"--preset {name}: there is no such preset. Choose one of {string.Join(", ", AugmentPreset.Names)}.");
            (int from, int wanted) = (parsed.GetValue(first), parsed.GetValue(count));
            if (wanted is < 1 or > Most) throw new UserError($"--count is {wanted}, expected 1 to {Most}.");
            string path = parsed.GetValue(output)!;
            OutputFile.Check(path, "--out", ".png");
            Device on = device.Open(parsed);
            IImageDataset images = data.OpenTrainOr(parsed);
            if (from < 0 || from >= images.Count) throw new UserError($"--first is {from}, but the images are 0 to {images.Count - 1}.");
            int[] indices = [.. Enumerable.Range(from, Math.Min(wanted, images.Count - from))];
            ViewSheet.Save(path, images, indices, AugmentPreset.Get(name), parsed.GetValue(seed), $"Images and their two views, recipe '{name}'", on);
            Terminal.Line($"Wrote {path}: {Counted.Of(indices.Length, "image")}.");
            return 0;
        });
        return verb;
    }
}
