using KernelContrast.Nn;
using KernelContrast.Optim;
using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Bench.Items;

/// <summary>Whole training steps: forward, cross-entropy over 10 classes, backward, SGD with momentum.</summary>
internal static class StepBench
{
    internal static IEnumerable<PairedBench> All()
    {
        var small = new Dictionary<string, double> { ["default"] = 0.70, ["tuned"] = 0.85 };
        var large = new Dictionary<string, double> { ["default"] = 1.15, ["tuned"] = 1.15 };
        yield return Row("ResNet-8 16/32/64, batch 256, 28×28", small, Small(8), new TorchShape(1, [16, 32, 64], 1), 256, 28) with { Narrow = true };
        yield return Row("ResNet-20 16/32/64, batch 256, 28×28", small, Small(20), new TorchShape(1, [16, 32, 64], 3), 256, 28);
        yield return Row("ResNet-18, CIFAR stem, batch 64, 32×32", large, ResNetConfig.ResNet18() with { Stem = ResNetStem.Cifar, Classes = 10 },
            new TorchShape(3, [64, 128, 256, 512], 2), 64, 32);
    }

    private sealed record TorchShape(int Channels, int[] Widths, int Blocks);

    private static ResNetConfig Small(int depth) => ResNetConfig.Small(depth) with { InputChannels = 1, Classes = 10, Shortcut = ResNetShortcut.Projection };

    private static PairedBench Row(string name, Dictionary<string, double> targets, ResNetConfig config, TorchShape shape, int batch, int size) =>
        new("step", $"training step {name}", targets, () => Create(config, shape, batch, size));

    private static PairedItem Create(ResNetConfig config, TorchShape shape, int batch, int size)
    {
        Tensor x = Tensor.RandomNormal(new(batch, config.InputChannels, size, size), 1);
        int[] classes = [.. Enumerable.Range(0, batch).Select(i => i * 7 % 10)];
        Tensor labels = Tensor.From<int>(classes, new(batch));
        var net = new ResNet(config, seed: 1);
        var sgd = new Sgd(net.NamedParameters(), 0.01, momentum: 0.9);

        TorchTensor tx = Torch.From(x.ToArray(), batch, config.InputChannels, size, size);
        TorchTensor tlabels = torch.tensor(classes, torch.ScalarType.Int64);
        var torchNet = new TorchResNet(shape.Channels, shape.Widths, shape.Blocks, stemStride: 1, outputs: 10);
        var torchSgd = torch.optim.SGD(torchNet.parameters(), 0.01, momentum: 0.9);
        return new PairedItem
        {
            Ours = () =>
            {
                using var scope = new TensorScope();
                sgd.ClearGradients();
                Functional.CrossEntropy(net.Forward(x), labels).Backward();
                sgd.Step();
            },
            Theirs = () =>
            {
                using var scope = torch.NewDisposeScope();
                torchSgd.zero_grad();
                functional.cross_entropy(torchNet.call(tx), tlabels).backward();
                torchSgd.step();
            },
            Cleanup = () =>
            {
                x.Dispose();
                labels.Dispose();
                net.Dispose();
                sgd.Dispose();
                tx.Dispose();
                tlabels.Dispose();
                torchNet.Dispose();
                torchSgd.Dispose();
            },
        };
    }
}
