using KernelContrast.Nn;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class NnTests
{
    // The published numbers: torchvision for 18, 34 and 50; He et al. 2016, table 6, for 20 and 56 (0.27M, 0.85M).
    [TestCase(18, 11_689_512), TestCase(34, 21_797_672), TestCase(50, 25_557_032)]
    public void Resnets_have_the_known_number_of_parameters(int depth, long parameters)
    {
        using var net = new ResNet(ImageNet(depth) with { Classes = 1000 });
        Assert.That(net.ParameterCount, Is.EqualTo(parameters));
    }

    [TestCase(20, 269_722), TestCase(56, 853_018)]
    public void Small_resnets_have_the_papers_number_of_parameters(int depth, long parameters)
    {
        using var net = new ResNet(ResNetConfig.Small(depth) with { Classes = 10 });
        Assert.That(net.ParameterCount, Is.EqualTo(parameters));
    }

    [Test]
    public void The_demos_encoder_has_78k_parameters()
    {
        using var net = new ResNet(ResNetConfig.Small(8) with { InputChannels = 1, Shortcut = ResNetShortcut.Projection, Stem = ResNetStem.Strided, Classes = 10 });
        Assert.That(net.ParameterCount, Is.EqualTo(77_754));
    }

    [Test]
    public void Names_and_shapes_are_torchvisions()
    {
        using var net = new ResNet(ResNetConfig.ResNet50() with { Classes = 1000 });
        Dictionary<string, Shape> shapes = net.NamedTensors().ToDictionary(t => t.Name, t => t.Tensor.Shape);
        Assert.That(net.NamedParameters(), Has.Count.EqualTo(161));
        Assert.That(net.NamedBuffers(), Has.Count.EqualTo(106));
        Assert.That(net.NamedParameters().Take(6).Select(p => p.Name), Is.EqualTo(new[]
            { "conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias" }));
        Assert.That(shapes["conv1.weight"], Is.EqualTo(new Shape(64, 3, 7, 7)));
        Assert.That(shapes["layer1.0.downsample.0.weight"], Is.EqualTo(new Shape(256, 64, 1, 1)));
        Assert.That(shapes["layer1.0.downsample.1.running_var"], Is.EqualTo(new Shape(256)));
        Assert.That(shapes["layer4.2.conv2.weight"], Is.EqualTo(new Shape(512, 512, 3, 3)));
        Assert.That(shapes["layer4.2.conv3.weight"], Is.EqualTo(new Shape(2048, 512, 1, 1)));
        Assert.That(shapes["fc.weight"], Is.EqualTo(new Shape(1000, 2048)));
        using var basic = new ResNet(ResNetConfig.ResNet18() with { Classes = 1000 });
        string[] names = [.. basic.NamedParameters().Select(p => p.Name)];
        Assert.That(names, Has.Length.EqualTo(62));
        Assert.That(names, Does.Contain("layer2.0.downsample.0.weight").And.Not.Contain("layer1.0.downsample.0.weight"));
    }

    [TestCaseSource(nameof(Shapes))]
    public void Weights_are_counted_without_making_them(ResNetConfig config)
    {
        using var net = new ResNet(config);
        long expected = net.NamedTensors().Where(t => t.Tensor.Shape.Rank == 4).Sum(t => t.Tensor.Shape.Count);
        Assert.That(config.CountWeights(), Is.EqualTo(expected));
        Assert.That(config.CountWeights(most: 100), Is.InRange(100, expected), "stopped early");
    }

    private static IEnumerable<ResNetConfig> Shapes() =>
    [
        ResNetConfig.ResNet18(),
        ResNetConfig.Small(14, 4, 6, 9),
        ResNetConfig.Small(8, 6, 4, 4) with { InputChannels = 1, Stem = ResNetStem.Strided, Shortcut = ResNetShortcut.Projection },
        new() { Blocks = [2, 1], Widths = [3, 5], Bottleneck = true, InputChannels = 2 },
    ];

    [TestCase(ResNetStem.ImageNet, 64, 3), TestCase(ResNetStem.Cifar, 32, 1), TestCase(ResNetStem.Strided, 28, 1)]
    public void Every_stem_gives_features(ResNetStem stem, int size, int channels)
    {
        using var scope = new TensorScope();
        using var net = new ResNet(ResNetConfig.Small(8, 4, 6, 8) with { Stem = stem, InputChannels = channels, Classes = 5 }, seed: 3);
        Tensor x = Tensor.RandomNormal(new(2, channels, size, size), 1);
        Assert.That(net.Features(x).Shape, Is.EqualTo(new Shape(2, 8)));
        Assert.That(net.Forward(x).Shape, Is.EqualTo(new Shape(2, 5)));
        Assert.That(net.Forward(x).ToArray(), Is.All.Matches<float>(float.IsFinite));
    }

    [Test]
    public void Resnet_50_runs_forward_and_backward_into_every_parameter()
    {
        using var scope = new TensorScope();
        using var net = new ResNet(ResNetConfig.ResNet50() with { Blocks = [1, 2, 1, 1], Widths = [4, 4, 6, 8], Classes = 3 });
        Tensor y = net.Forward(Tensor.RandomNormal(new(2, 3, 64, 64), 1));
        Assert.That(y.Shape, Is.EqualTo(new Shape(2, 3)));
        y.Backward(Tensor.RandomNormal(y.Shape, 2));
        foreach ((string name, Tensor parameter) in net.NamedParameters())
        {
            Assert.That(parameter.Grad, Is.Not.Null, name);
            Assert.That(parameter.Grad!.ToArray(), Is.All.Matches<float>(float.IsFinite), name);
        }
    }

    [Test]
    public void Gradients_through_a_whole_resnet_agree_with_differences([Values] ResNetShortcut shortcut, [Values] bool training)
    {
        using var scope = new TensorScope();
        using var net = new ResNet(ResNetConfig.Small(8, 4, 6, 8) with { Shortcut = shortcut, InputChannels = 2, Classes = 3 }, seed: 5);
        if (!training) net.Eval();
        Tensor x = Tensor.RandomNormal(new(6, 2, 8, 8), 1), upstream = Tensor.RandomNormal(new(6, 3), 2);
        float[] weights = upstream.ToArray();
        net.Forward(x).Backward(upstream);
        // The change of the output along the gradient itself is the gradient's squared length. Piecewise linear kinks
        // and float32 allow no better than a per cent.
        double expected = 0;
        var gradients = new Dictionary<string, float[]>();
        foreach ((string name, Tensor parameter) in net.NamedParameters())
        {
            gradients[name] = parameter.Grad!.ToArray();
            expected += gradients[name].Sum(g => (double)g * g);
        }
        double step = 1e-3 / Math.Sqrt(expected);
        double slope = (Output(step) - Output(-2 * step)) / (2 * step);
        Assert.That(slope, Is.EqualTo(expected).Within(0.01 * expected));

        double Output(double along)
        {
            foreach ((string name, Tensor parameter) in net.NamedParameters())
            {
                float[] moved = parameter.ToArray();
                for (int i = 0; i < moved.Length; i++) moved[i] += (float)(along * gradients[name][i]);
                using Tensor values = Tensor.From<float>(moved, parameter.Shape);
                parameter.CopyFrom(values);
            }
            using var unrecorded = new NoGrad();
            return net.Forward(x).ToArray().Zip(weights, (y, w) => (double)y * w).Sum();
        }
    }

    [Test]
    public void An_identity_shortcut_takes_every_second_pixel_and_adds_zero_channels()
    {
        using var scope = new TensorScope();
        // With every last γ at 0 a block is relu(shortcut); the stem's output is not negative, so it is the shortcut.
        using var net = new ResNet(ResNetConfig.Small(8, 2, 3, 5) with { InputChannels = 1, ZeroInitLastGamma = true }, seed: 1);
        using var stem = new ResNet(new ResNetConfig { Blocks = [1], Widths = [2], Stem = ResNetStem.Cifar, InputChannels = 1, ZeroInitLastGamma = true }, seed: 1);
        Tensor x = Tensor.RandomNormal(new(1, 1, 8, 8), 1);
        float[] all = net.Features(x).ToArray();
        Tensor whole = Functional.Relu(Functional.BatchNorm(
            Functional.Conv2d(x, net.NamedParameters()[0].Tensor, null, 1, 1), Tensor.Full(new(2), 1), Tensor.Zeros(new(2)),
            Tensor.Zeros(new(2)), Tensor.Full(new(2), 1), training: true));
        float[] maps = whole.ToArray();
        // 8×8 → 4×4 → 2×2: pixels (0, 0), (0, 4), (4, 0) and (4, 4) of the two first channels are left, and averaged.
        Assert.That(all, Is.EqualTo(new[] { Left(0), Left(64), 0, 0, 0 }).Within(1e-6f));
        Assert.That(stem.Features(x).ToArray(), Is.EqualTo(new[] { maps[..64].Average(), maps[64..].Average() }).Within(1e-5f));

        float Left(int channel) => (maps[channel] + maps[channel + 4] + maps[channel + 32] + maps[channel + 36]) / 4;
    }

    [Test]
    public void Weights_start_as_stated()
    {
        using var net = new ResNet(ResNetConfig.ResNet18() with { Classes = 1000, ZeroInitLastGamma = true }, seed: 7);
        Dictionary<string, Tensor> all = net.NamedTensors().ToDictionary(t => t.Name, t => t.Tensor);
        float[] conv = all["layer2.0.conv2.weight"].ToArray();
        Assert.That(Math.Sqrt(conv.Average(w => (double)w * w)), Is.EqualTo(Math.Sqrt(2.0 / (128 * 9))).Within(1).Percent);
        Assert.That(conv.Average(), Is.EqualTo(0).Within(4e-4));
        float[] fc = all["fc.weight"].ToArray();
        Assert.That(fc.Max(), Is.EqualTo(1 / Math.Sqrt(512)).Within(1e-4).And.LessThanOrEqualTo(1 / Math.Sqrt(512)));
        Assert.That(fc.Min(), Is.EqualTo(-1 / Math.Sqrt(512)).Within(1e-4));
        Assert.That(all["layer1.0.bn1.weight"].ToArray(), Is.All.EqualTo(1));
        Assert.That(all["layer1.0.bn2.weight"].ToArray(), Is.All.EqualTo(0));
        Assert.That(all["layer1.0.bn2.running_var"].ToArray(), Is.All.EqualTo(1));
    }

    [Test]
    public void Weights_are_a_function_of_the_seed_and_no_two_layers_repeat_each_other()
    {
        using var a = new ResNet(ResNetConfig.Small(8), seed: 1);
        using var b = new ResNet(ResNetConfig.Small(8), seed: 1);
        using var c = new ResNet(ResNetConfig.Small(8), seed: 2);
        float[] one = Weights(a, "layer1.0.conv1.weight");
        Assert.That(Weights(b, "layer1.0.conv1.weight"), Is.EqualTo(one));
        Assert.That(Weights(c, "layer1.0.conv1.weight"), Is.Not.EqualTo(one));
        Assert.That(Weights(a, "layer1.0.conv2.weight"), Is.Not.EqualTo(one));

        static float[] Weights(Module net, string name) => net.NamedParameters().Single(p => p.Name == name).Tensor.ToArray();
    }

    [Test]
    public void Parameters_outlive_the_scope_they_were_made_in()
    {
        ResNet net;
        using (new TensorScope()) net = new ResNet(ResNetConfig.Small(8));
        using (net) Assert.That(net.NamedTensors().Select(t => t.Tensor.IsDisposed), Is.All.False);
    }

    [Test]
    public void Frozen_parameters_get_no_gradient_and_evaluation_leaves_running_statistics()
    {
        using var scope = new TensorScope();
        using var net = new ResNet(ResNetConfig.Small(8, 2, 2, 4) with { InputChannels = 1 }).Freeze().Eval();
        using var head = ProjectionHead.SimClrV1(4, new Initializer(1), 3);
        float[] mean = net.NamedBuffers()[0].Tensor.ToArray();
        Tensor y = head.Forward(net.Forward(Tensor.RandomNormal(new(4, 1, 8, 8), 1)));
        y.Backward(Tensor.RandomNormal(y.Shape, 2));
        Assert.That(net.NamedParameters().Select(p => p.Tensor.Grad), Is.All.Null);
        Assert.That(head.NamedParameters().Select(p => p.Tensor.Grad), Has.None.Null);
        Assert.That(net.NamedBuffers()[0].Tensor.ToArray(), Is.EqualTo(mean));
        net.Train().Forward(Tensor.RandomNormal(new(4, 1, 8, 8), 1));
        Assert.That(net.NamedBuffers()[0].Tensor.ToArray(), Is.Not.EqualTo(mean));
        Assert.That(net.Unfreeze().NamedParameters().Select(p => p.Tensor.RequiresGrad), Is.All.True);
    }

    [TestCase("simclr-v1", "0.weight 1.weight 1.bias 3.weight 3.bias")]
    [TestCase("simclr-v2", "0.weight 1.weight 1.bias 3.weight 4.weight 4.bias 6.weight 7.weight 7.bias")]
    [TestCase("moco-v2", "0.weight 0.bias 2.weight 2.bias")]
    public void Heads_have_their_layers(string name, string parameters)
    {
        using var scope = new TensorScope();
        using Sequential head = ProjectionHead.Create(name, 6, new Initializer(1), outputs: 5, hidden: 7);
        Assert.That(string.Join(' ', head.NamedParameters().Select(p => p.Name)), Is.EqualTo(parameters));
        Assert.That(head.Forward(Tensor.RandomNormal(new(4, 6), 1)).Shape, Is.EqualTo(new Shape(4, 5)));
        Assert.That(() => ProjectionHead.Create("simclr", 6, new Initializer(1)), Throws.ArgumentException.With.Message.Contains("simclr-v1"));
    }

    [Test]
    public void A_relu_fused_into_batch_norm_changes_nothing()
    {
        using var scope = new TensorScope();
        var random = new Initializer(1);
        using var norm = new BatchNorm1d(6, random);
        using var fused = new Sequential(norm, new Relu());
        Tensor x = Tensor.RandomNormal(new(8, 6), 1);
        Assert.That(fused.Forward(x).ToArray(), Is.EqualTo(Functional.Relu(norm.Forward(x)).ToArray()));
    }

    [Test]
    public void Wrong_shapes_are_named()
    {
        using var scope = new TensorScope();
        using var net = new ResNet(ResNetConfig.Small(8));
        Assert.That(() => net.Forward(Tensor.Zeros(new(2, 1, 8, 8))), Throws.ArgumentException.With.Message.Contains("[N, 3, H, W]").And.Message.Contains("[2, 1, 8, 8]"));
        Assert.That(() => new ResNet(ResNetConfig.ResNet50() with { Shortcut = ResNetShortcut.Identity }), Throws.ArgumentException);
        Assert.That(() => new ResNet(ResNetConfig.Small(8, 4, 2, 8)), Throws.ArgumentException.With.Message.Contains("4 to fewer channels, 2"));
        Assert.That(() => ResNetConfig.Small(10), Throws.ArgumentException.With.Message.Contains("6n + 2"));
    }

    private static ResNetConfig ImageNet(int depth) => depth switch
    {
        18 => ResNetConfig.ResNet18(),
        34 => ResNetConfig.ResNet34(),
        _ => ResNetConfig.ResNet50(),
    };
}
