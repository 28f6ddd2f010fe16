using System.CommandLine;
using KernelContrast.Datasets;

namespace KernelContrast.Cli;

/// <summary><c>--data</c> and what belongs to it, as every verb that reads images has them.</summary>
internal sealed class DataOptions
{
    private readonly Option<string> _data = new("--data")
    {
        Description = "Images: a directory of IDX files (MNIST), CIFAR's batches, .npy files, or one folder of PNG/JPEG images per class; or one IDX or .npy file",
        HelpName = "PATH",
        Required = true,
    };

    private readonly Option<int> _size = new("--size")
    {
        Description = "Resize the images of folders to this height and width; not needed when they all have one size",
        HelpName = "PIXELS",
    };

    private readonly Option<ulong?> _moved = new("--moved")
    {
        Description = "Shift each image once by up to 6 pixels and turn it by up to 20 degrees, by this seed, as the demo's data set does",
        HelpName = "SEED",
    };

    internal void AddTo(Command verb)
    {
        verb.Options.Add(_data);
        verb.Options.Add(_size);
        verb.Options.Add(_moved);
    }

    /// <summary>Opens one part of the data set.</summary>
    /// <exception cref="UserError">An option is out of range, or the part has no images.</exception>
    /// <exception cref="IOException">There is no data set at the path, or it is damaged.</exception>
    internal IImageDataset Open(ParseResult parsed, Split split)
    {
        int size = parsed.GetValue(_size);
        if (size is < 0 or > 16384) throw new UserError($"--size is {size}, expected 1 to 16384 pixels.");
        string path = parsed.GetValue(_data)!;
        IImageDataset data = Dataset.Open(path, split, size);
        if (data.Count == 0) throw new UserError($"{path}: the {Name(split)} part has no images.");
        // Test images move by other numbers than training images.
        return parsed.GetValue(_moved) is { } seed ? new MovedDigits(data, split == Split.Train ? seed : seed + 1) : data;
    }

    /// <summary>Opens a part that must have labels.</summary>
    /// <inheritdoc cref="Open"/>
    internal IImageDataset OpenLabelled(ParseResult parsed, Split split)
    {
        IImageDataset data = Open(parsed, split);
        if (data.ClassCount == 0 || data.Labels().Any(label => label < 0))
            throw new UserError($"{parsed.GetValue(_data)}: the {Name(split)} images have no labels, which this verb needs. "
                + "Give the labels file beside the images, or one folder per class.");
        return data;
    }

    private static string Name(Split split) => split == Split.Train ? "training" : "test";
}
