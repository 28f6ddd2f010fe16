using System.Globalization;

namespace KernelContrast.Nn;

/// <summary>
/// Residual network, with torchvision's parameter names and shapes (<c>conv1</c>, <c>bn1</c>, <c>layer1.0.conv1</c>, …,
/// <c>layer2.0.downsample.0</c>, <c>fc</c>), so its weights load from safetensors.
/// </summary>
/// <remarks>
/// He, Zhang, Ren, Sun: "Deep residual learning for image recognition", CVPR 2016. Convolutions start as
/// <see cref="Conv2d"/> says, <c>fc</c> as <see cref="Linear"/>.
/// </remarks>
public sealed class ResNet : Module
{
    private readonly Conv2d _conv1;
    private readonly BatchNorm2d _bn1;
    private readonly List<Block> _blocks = [];
    private readonly Linear? _fc;

    /// <summary>A network with weights drawn from <paramref name="seed"/>, on the CPU.</summary>
    /// <exception cref="ArgumentException">The configuration contradicts itself.</exception>
    public ResNet(ResNetConfig config, ulong seed = 0)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Check();
        Config = config;
        var random = new Initializer(seed);
        int channels = config.Widths[0];
        (int kernel, int stride, int padding) = config.Stem switch
        {
            ResNetStem.ImageNet => (7, 2, 3),
            ResNetStem.Cifar => (3, 1, 1),
            _ => (3, 2, 1),
        };
        _conv1 = AddModule("conv1", new Conv2d(config.InputChannels, channels, kernel, random, stride, padding));
        _bn1 = AddModule("bn1", new BatchNorm2d(channels, random, norm: config.Norm));
        for (int stage = 0; stage < config.Blocks.Length; stage++)
        {
            var layer = new Stage();
            for (int i = 0; i < config.Blocks[stage]; i++)
            {
                int width = config.Widths[stage], step = stage > 0 && i == 0 ? 2 : 1;
                Block block = config.Bottleneck
                    ? new BottleneckBlock(channels, width, step, random, config)
                    : new BasicBlock(channels, width, step, random, config);
                layer.Add(i, block);
                _blocks.Add(block);
                channels = width * config.Expansion;
            }
            AddModule($"layer{stage + 1}", layer);
        }
        if (config.Classes > 0) _fc = AddModule("fc", new Linear(channels, config.Classes, random));
    }

    /// <summary>What it was made from.</summary>
    public ResNetConfig Config { get; }

    /// <summary>Length of <see cref="Features"/>' rows.</summary>
    public int FeatureCount => Config.FeatureCount;

    /// <summary>x [N, C, H, W] to [N, Classes], or to <see cref="Features"/> when there are no classes.</summary>
    public override Tensor Forward(Tensor x)
    {
        Tensor features = Features(x);
        return _fc is null ? features : _fc.Forward(features);
    }

    /// <summary>x [N, C, H, W] to the averages of the last feature maps, [N, <see cref="FeatureCount"/>].</summary>
    public Tensor Features(Tensor x)
    {
        if (x.Shape.Rank != 4 || x.Shape[1] != Config.InputChannels)
            throw new ArgumentException($"This ResNet takes images of shape [N, {Config.InputChannels}, H, W], but got {x.Shape}.");
        x = _bn1.Forward(_conv1.Forward(x), relu: true);
        if (Config.Stem == ResNetStem.ImageNet) x = Functional.MaxPool2d(x, 3, 2, 1);
        foreach (Block block in _blocks) x = block.Forward(x);
        return Functional.GlobalAvgPool(x);
    }

    /// <summary>Holds a stage's blocks under their numbers.</summary>
    private sealed class Stage : Module
    {
        private readonly List<Block> _blocks = [];

        internal void Add(int number, Block block) => _blocks.Add(AddModule(number.ToString(CultureInfo.InvariantCulture), block));

        public override Tensor Forward(Tensor x) => _blocks.Aggregate(x, (y, block) => block.Forward(y));
    }

    private abstract class Block : Module
    {
        private readonly ResNetShortcut _shortcut;
        private readonly int _stride, _inputs, _outputs;
        private Sequential? _downsample;

        private protected Block(int inputs, int outputs, int stride, ResNetShortcut shortcut)
        {
            (_stride, _inputs, _outputs, _shortcut) = (stride, inputs, outputs, shortcut);
            if (shortcut == ResNetShortcut.Identity && outputs < inputs)
                throw new ArgumentException($"An identity shortcut cannot go from {inputs} to fewer channels, {outputs}. Choose projections, or growing widths.");
        }

        private bool Reshapes => _stride > 1 || _inputs != _outputs;

        /// <summary>Called last: torchvision lists it behind the convolutions.</summary>
        private protected void AddDownsample(int inputs, int outputs, Initializer random, ResNetConfig config)
        {
            if (Reshapes && _shortcut == ResNetShortcut.Projection)
                _downsample = AddModule("downsample", new Sequential(new Conv2d(inputs, outputs, 1, random, _stride), new BatchNorm2d(outputs, random, norm: config.Norm)));
        }

        private protected Tensor Shortcut(Tensor x)
        {
            if (!Reshapes) return x;
            if (_downsample is not null) return _downsample.Forward(x);
            // A fixed 1×1 convolution that hands every channel on: exact, and one op for both the pixels and the zeros.
            var handOn = new float[_outputs * _inputs];
            for (int c = 0; c < _inputs; c++) handOn[c * _inputs + c] = 1;
            return Functional.Conv2d(x, Tensor.From<float>(handOn, new(_outputs, _inputs, 1, 1), x.Device), null, _stride);
        }
    }

    /// <summary>3×3, 3×3.</summary>
    private sealed class BasicBlock : Block
    {
        private readonly Conv2d _conv1, _conv2;
        private readonly BatchNorm2d _bn1, _bn2;

        internal BasicBlock(int inputs, int width, int stride, Initializer random, ResNetConfig config)
            : base(inputs, width, stride, config.Shortcut)
        {
            _conv1 = AddModule("conv1", new Conv2d(inputs, width, 3, random, stride, padding: 1));
            _bn1 = AddModule("bn1", new BatchNorm2d(width, random, norm: config.Norm));
            _conv2 = AddModule("conv2", new Conv2d(width, width, 3, random, padding: 1));
            _bn2 = AddModule("bn2", new BatchNorm2d(width, random, gamma: config.LastGamma, norm: config.Norm));
            AddDownsample(inputs, width, random, config);
        }

        public override Tensor Forward(Tensor x)
        {
            Tensor y = _bn1.Forward(_conv1.Forward(x), relu: true);
            return _bn2.Forward(_conv2.Forward(y), relu: true, residual: Shortcut(x));
        }
    }

    /// <summary>1×1, 3×3 with the stride, 1×1 four times as wide.</summary>
    private sealed class BottleneckBlock : Block
    {
        private readonly Conv2d _conv1, _conv2, _conv3;
        private readonly BatchNorm2d _bn1, _bn2, _bn3;

        internal BottleneckBlock(int inputs, int width, int stride, Initializer random, ResNetConfig config)
            : base(inputs, width * config.Expansion, stride, config.Shortcut)
        {
            int outputs = width * config.Expansion;
            _conv1 = AddModule("conv1", new Conv2d(inputs, width, 1, random));
            _bn1 = AddModule("bn1", new BatchNorm2d(width, random, norm: config.Norm));
            _conv2 = AddModule("conv2", new Conv2d(width, width, 3, random, stride, padding: 1));
            _bn2 = AddModule("bn2", new BatchNorm2d(width, random, norm: config.Norm));
            _conv3 = AddModule("conv3", new Conv2d(width, outputs, 1, random));
            _bn3 = AddModule("bn3", new BatchNorm2d(outputs, random, gamma: config.LastGamma, norm: config.Norm));
            AddDownsample(inputs, outputs, random, config);
        }

        public override Tensor Forward(Tensor x)
        {
            Tensor y = _bn1.Forward(_conv1.Forward(x), relu: true);
            y = _bn2.Forward(_conv2.Forward(y), relu: true);
            return _bn3.Forward(_conv3.Forward(y), relu: true, residual: Shortcut(x));
        }
    }
}
