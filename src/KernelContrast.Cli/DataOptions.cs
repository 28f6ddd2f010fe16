using System.CommandLine;
using KernelContrast.Datasets;

namespace KernelContrast.Cli;

/// <summary><c>--data</c> and what belongs to it, as every verb that reads images has them.</summary>
internal sealed class DataOptions
{
    private readonly Option<string?> _data = new("--data")
    {
        Description = "Images: a directory of IDX files (MNIST), CIFAR's batches, .npy files, or one folder of PNG/JPEG images per class; or one IDX or .npy file",
        HelpName = "PATH",
    };

    private readonly Option<int?> _imageSize = new("--image-size")
    {
        Description = "Resize the images of folders to this height and width; not needed when they all have one size",
        HelpName = "N",
    };

    private readonly Option<ulong?> _moved = new("--moved")
    {
        Description = "Shift each image once by up to 6 pixels and turn it by up to 20 degrees, by this seed, as the demo's data set does",
        HelpName = "SEED",
    };

    private readonly Option<string?> _split = new("--split");

    internal DataOptions(bool required = true)
    {
        _data.Required = required;
        _split.AcceptOnlyFromAmong("train", "test");
    }

    internal bool Given(ParseResult parsed) => parsed.GetValue(_data) is not null;

    /// <summary>Adds the options, and <c>--split</c> for a verb that reads one part of its choice.</summary>
    internal void AddTo(Command verb, string? split = null)
    {
        verb.Options.Add(_data);
        if (split is not null)
        {
            _split.Description = $"Which part of the data set; {split} when not given";
            verb.Options.Add(_split);
        }
        verb.Options.Add(_imageSize);
        verb.Options.Add(_moved);
    }

    /// <summary>Opens one part of the data set.</summary>
    /// <exception cref="UserError">An option is out of range, or the part has no images.</exception>
    /// <exception cref="IOException">There is no data set at the path, or it is damaged.</exception>
    internal IImageDataset Open(ParseResult parsed, Split split) => Moved(parsed, Read(parsed, split), split);

    /// <summary>Opens the part that <c>--split</c> names; the test part when it is not given, or all where there is none.</summary>
    /// <inheritdoc cref="Open" path="/exception"/>
    internal IImageDataset OpenTestOrAll(ParseResult parsed)
    {
        if (parsed.GetValue(_split) is { } named) return Open(parsed, SplitOf(named));
        return parsed.GetValue(_data) is { } path && Divided(parsed, path, out IImageDataset test) ? Moved(parsed, test, Split.Test) : Open(parsed, Split.Train);
    }

    /// <summary>Opens the part that <c>--split</c> names; the training part when it is not given.</summary>
    /// <inheritdoc cref="Open" path="/exception"/>
    internal IImageDataset OpenTrainOr(ParseResult parsed) => Open(parsed, SplitOf(parsed.GetValue(_split) ?? "train"));

    /// <summary>
    /// Opens both parts, with labels. Of a data set that is not divided, every fifth image is held out for testing.
    /// </summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="check">Refuses images that do not fit, before anything is said about them.</param>
    /// <inheritdoc cref="Open" path="/exception"/>
    internal (IImageDataset Train, IImageDataset Test) OpenBoth(ParseResult parsed, Action<IImageDataset> check)
    {
        string path = parsed.GetValue(_data)!;
        IImageDataset train = Labelled(path, Read(parsed, Split.Train), Split.Train), test;
        check(train);
        if (!Divided(parsed, path, out test))
        {
            const int Part = 5;
            test = train.Subset([.. Enumerable.Range(0, train.Count).Where(i => i % Part == Part - 1)]);
            train = train.Subset([.. Enumerable.Range(0, train.Count).Where(i => i % Part != Part - 1)]);
            if (test.Count == 0) throw new UserError($"{path}: has no test part, and too few images to hold some out.");
            Terminal.Note($"{path} has no test part: every fifth image, {test.Count} in all, is held out for testing.");
        }
        Labelled(path, test, Split.Test);
        // Numbered classes of which the last have no test image are fine; folders of other names are not.
        if (!train.ClassNames.Take(test.ClassCount).SequenceEqual(test.ClassNames))
            throw new UserError($"{path}: the training part's classes are {List(train.ClassNames)}, the test part's {List(test.ClassNames)}. They must be the same.");
        return (Moved(parsed, train, Split.Train), Moved(parsed, test, Split.Test));
    }

    private IImageDataset Read(ParseResult parsed, Split split)
    {
        string path = parsed.GetValue(_data) ?? throw new UserError("--data is missing: give the images.");
        int? size = parsed.GetValue(_imageSize);
        if (size is < 1 or > ImageFolder.MostSize) throw new UserError($"--image-size is {size}, expected 1 to {ImageFolder.MostSize} pixels.");
        IImageDataset data = Dataset.Open(path, split, size ?? 0);
        return data.Count > 0 ? data : throw new UserError($"{path}: the {Name(split)} part has no images.");
    }

    private bool Divided(ParseResult parsed, string path, out IImageDataset test)
    {
        test = null!;
        if (File.Exists(path)) return false;
        try { test = Read(parsed, Split.Test); }
        // Only what names the directory itself says that the part is missing; a damaged file names itself.
        catch (DataFormatException e) when (e.Path == path) { return false; }
        return true;
    }

    // Test images move by other numbers than training images.
    private IImageDataset Moved(ParseResult parsed, IImageDataset data, Split split) =>
        parsed.GetValue(_moved) is { } seed ? new MovedDigits(data, split == Split.Train ? seed : seed + 1) : data;

    private static IImageDataset Labelled(string path, IImageDataset data, Split split) =>
        data.ClassCount > 0 && data.Labels().All(label => label >= 0) ? data
            : throw new UserError($"{path}: the {Name(split)} images have no labels, which this verb needs. "
                + "Give the file of labels beside the images, or one folder of images per class.");

    private static string List(IReadOnlyList<string> names) => string.Join(", ", names.Take(6)) + (names.Count > 6 ? ", …" : "");

    private static Split SplitOf(string name) => name == "train" ? Split.Train : Split.Test;

    private static string Name(Split split) => split == Split.Train ? "training" : "test";
}
