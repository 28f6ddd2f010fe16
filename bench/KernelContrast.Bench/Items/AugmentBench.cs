using KernelContrast.Augment;
using KernelContrast.Datasets;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>SimCLR's CIFAR chain, one view of 256 images of 3×32×32.</summary>
internal static class AugmentBench
{
    private const int Images = 256, Size = 32;

    internal static IEnumerable<PairedBench> All()
    {
        yield return new PairedBench("augment", $"SimCLR augmentation {Images}×3×{Size}×{Size}, one view",
            new Dictionary<string, double> { ["default"] = 0.15, ["tuned"] = 0.15 }, Create);
    }

    private static PairedItem Create()
    {
        var random = new PhiloxStream(1, 2);
        var pixels = new byte[Images * 3 * Size * Size];
        foreach (ref byte pixel in pixels.AsSpan()) pixel = (byte)random.NextUInt32();
        var data = new MemoryDataset(pixels, new int[Images], 3, Size, Size, ["any"]);
        ImageBatch batch = ImageBatch.Of(data, 0, Images);
        var pipeline = new Pipeline("cifar", seed: 1);
        TorchTensor images = TorchSharp.torch.tensor(pixels, [Images, 3, Size, Size]);
        int epoch = 0;
        return new PairedItem
        {
            Ours = () => pipeline.View(batch, epoch++, 0).Dispose(),
            Theirs = () => TorchAugment.View(images).Dispose(),
            Cleanup = images.Dispose,
        };
    }
}
