using System.CommandLine;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>embed</c>: features for other programs.</summary>
internal static class EmbedCommand
{
    internal static VerbCommand Create()
    {
        var run = TrainedEncoder.Argument();
        var data = new DataOptions();
        var output = new Option<string>("--out")
        {
            Description = $"What to write: .safetensors ('{EmbeddingsFile.Key}', and 'labels' when there are any) or .npy (float32 [images, dim])",
            HelpName = "FILE",
            DefaultValueFactory = _ => "embeddings.safetensors",
        };
        var labels = new Option<string?>("--labels") { Description = "Write the classes to this .npy too (int32 [images], -1 for none)", HelpName = "FILE" };
        var last = TrainedEncoder.LastOption();
        var device = new DeviceOptions();
        var verb = new VerbCommand("embed", "Write what an encoder makes of images, in the data set's order.",
            "kernelcontrast embed runs/digits --data data/mnist --split test --out digits.npy --labels digit-labels.npy") { run, output, labels, last };
        data.AddTo(verb, split: "test, or all where there is no such part");
        device.AddTo(verb);
        verb.Outputs = [output, labels];
        verb.SetAction(parsed =>
        {
            string path = parsed.GetValue(output)!;
            bool npy = OutputFile.Check(path, "--out", ".npy", ".safetensors") == ".npy";
            string? labelsPath = parsed.GetValue(labels);
            if (labelsPath is not null) OutputFile.Check(labelsPath, "--labels", ".npy");
            using TrainedEncoder encoder = TrainedEncoder.Open(parsed.GetValue(run)!, device.Open(parsed), parsed.GetValue(last));
            IImageDataset images = data.OpenTestOrAll(parsed);
            FeatureMatrix features = encoder.Features(images);
            if (npy) NpyFile.Write(path, features.Values, new Shape(features.Rows, features.Dim));
            else WriteSafetensors(path, features, images);
            if (labelsPath is not null) NpyFile.Write(labelsPath, images.Labels(), new Shape(images.Count));
            Terminal.Line($"Wrote {path}: {Counted.Of(features.Rows, "image")}, {Counted.Of(features.Dim, "number")} each.");
            return 0;
        });
        return verb;
    }

    private static void WriteSafetensors(string path, FeatureMatrix features, IImageDataset images)
    {
        using var scope = new TensorScope();
        var tensors = new List<KeyValuePair<string, Tensor>> { new(EmbeddingsFile.Key, Tensor.From<float>(features.Values, new(features.Rows, features.Dim))) };
        if (images.ClassCount > 0) tensors.Add(new(EmbeddingsFile.LabelsKey, Tensor.From<int>(images.Labels(), new(images.Count))));
        Safetensors.Write(path, tensors);
    }
}
