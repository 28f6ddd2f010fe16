namespace KernelContrast.Nn;

/// <summary>What a <see cref="ResNet"/> begins with.</summary>
public enum ResNetStem
{
    /// <summary>7×7 convolution of stride 2, then 3×3 max pooling of stride 2: for images of about 224².</summary>
    ImageNet,
    /// <summary>3×3 convolution of stride 1, no pooling: for images of about 32² (SimCLR, appendix B.9).</summary>
    Cifar,
    /// <summary>3×3 convolution of stride 2, no pooling: a quarter of the work of <see cref="Cifar"/>.</summary>
    Strided,
}

/// <summary>How a block's input is added to its output where their shapes differ (He et al. 2016, section 4.1).</summary>
public enum ResNetShortcut
{
    /// <summary>Option B: 1×1 convolution and batch norm.</summary>
    Projection,
    /// <summary>Option A: every second pixel, zeros for the new channels; no parameters. Basic blocks only.</summary>
    Identity,
}

/// <summary>What stands where a network normalises.</summary>
public enum Normalization
{
    /// <summary>Batch normalisation.</summary>
    Batch,
    /// <summary>
    /// γ x + β per channel, with nothing measured: a sample's output depends on that sample alone. Each residual block's
    /// last γ starts at 0, without which deep networks diverge (De, Smith: "Batch normalization biases residual blocks
    /// towards the identity function in deep networks", NeurIPS 2020, section 4: SkipInit, there one factor per block).
    /// </summary>
    None,
}

/// <summary>The shape of a <see cref="ResNet"/>, as it is saved with its weights. A new one is a ResNet-18.</summary>
public sealed record ResNetConfig
{
    /// <summary>Blocks per stage; every stage but the first halves height and width.</summary>
    public int[] Blocks { get; set; } = [2, 2, 2, 2];

    /// <summary>Channels of the stages' inner convolutions; as many entries as <see cref="Blocks"/>.</summary>
    public int[] Widths { get; set; } = [64, 128, 256, 512];

    /// <summary>Blocks of 1×1, 3×3, 1×1 convolutions, the last four times as wide; else of two 3×3 ones.</summary>
    public bool Bottleneck { get; set; }

    /// <summary>What it begins with.</summary>
    public ResNetStem Stem { get; set; }

    /// <summary>What joins stages of different shapes.</summary>
    public ResNetShortcut Shortcut { get; set; }

    /// <summary>Channels of the images: 3, or 1.</summary>
    public int InputChannels { get; set; } = 3;

    /// <summary>Outputs of the last layer, <c>fc</c>; 0: no such layer, the output is the pooled features.</summary>
    public int Classes { get; set; }

    /// <summary>What stands behind each convolution.</summary>
    public Normalization Norm { get; set; }

    /// <summary>Whether each block's last γ starts at 0, so that it starts as the identity (Goyal et al. 2017).</summary>
    public bool ZeroInitLastGamma { get; set; }

    /// <summary>ResNet-18.</summary>
    public static ResNetConfig ResNet18() => new();

    /// <summary>ResNet-34.</summary>
    public static ResNetConfig ResNet34() => new() { Blocks = [3, 4, 6, 3] };

    /// <summary>ResNet-50, with the stride in the 3×3 convolution as in torchvision ("v1.5").</summary>
    public static ResNetConfig ResNet50() => new() { Blocks = [3, 4, 6, 3], Bottleneck = true };

    /// <summary>
    /// The small ResNets of He et al. 2016, section 4.2: depth 6n + 2 (8, 14, 20, …) in three stages, 3×3 stem, identity shortcuts.
    /// </summary>
    /// <exception cref="ArgumentException">The depth is no 6n + 2, or there are not three widths.</exception>
    public static ResNetConfig Small(int depth, params ReadOnlySpan<int> widths)
    {
        if (depth < 8 || (depth - 2) % 6 != 0) throw new ArgumentException($"A small ResNet's depth is 6n + 2 (8, 14, 20, …), not {depth}.");
        if (widths.Length is not (0 or 3)) throw new ArgumentException($"A small ResNet has three widths (16, 32, 64 when none are given), not {widths.Length}.");
        int blocks = (depth - 2) / 6;
        return new()
        {
            Blocks = [blocks, blocks, blocks],
            Widths = widths.Length == 0 ? [16, 32, 64] : widths.ToArray(),
            Stem = ResNetStem.Cifar,
            Shortcut = ResNetShortcut.Identity,
        };
    }

    /// <summary>Length of the pooled features.</summary>
    public int FeatureCount => Widths[^1] * Expansion;

    internal float LastGamma => ZeroInitLastGamma || Norm == Normalization.None ? 0 : 1;

    internal int Expansion => Bottleneck ? 4 : 1;

    // so that no layer has more weights than an array has elements: 16 · 8192² = 2³⁰ in a bottleneck's shortcut
    private const int MostChannels = 8192, MostInputChannels = 1024;

    /// <summary>
    /// Elements of all convolutions' weights, which is nearly all that a network of this shape has, found without making it;
    /// counted no further than the first layer that brings them above <paramref name="most"/>.
    /// </summary>
    internal long CountWeights(long most = long.MaxValue)
    {
        long kernel = Stem == ResNetStem.ImageNet ? 7 : 3, channels = Widths[0], weights = kernel * kernel * InputChannels * channels;
        for (int stage = 0; stage < Blocks.Length; stage++)
            for (int block = 0; block < Blocks[stage] && weights <= most; block++)
            {
                long width = Widths[stage], outputs = width * Expansion;
                weights += Bottleneck ? channels * width + 9 * width * width + width * outputs : 9 * channels * width + 9 * width * width;
                bool reshapes = (stage > 0 && block == 0) || channels != outputs;
                if (reshapes && Shortcut == ResNetShortcut.Projection) weights += channels * outputs;
                channels = outputs;
            }
        return weights;
    }

    internal void Check()
    {
        ArgumentNullException.ThrowIfNull(Blocks);
        ArgumentNullException.ThrowIfNull(Widths);
        if (Blocks.Length == 0 || Blocks.Length != Widths.Length)
            throw new ArgumentException($"A ResNet has as many widths as stages, at least one, but got {Blocks.Length} stages and {Widths.Length} widths.");
        if (Blocks.Any(b => b is < 1 or > 1000) || Widths.Any(w => w is < 1 or > MostChannels))
            throw new ArgumentException($"A ResNet's stages have 1 to 1000 blocks of 1 to {MostChannels} channels, but got blocks [{string.Join(", ", Blocks)}] and widths [{string.Join(", ", Widths)}].");
        if (InputChannels is < 1 or > MostInputChannels || Classes is < 0 or > 1_000_000) throw new ArgumentException($"A ResNet has 1 to {MostInputChannels} input channels and up to 1000000 classes, but got {InputChannels} and {Classes}.");
        if (Bottleneck && Shortcut == ResNetShortcut.Identity) throw new ArgumentException("Identity shortcuts are for basic blocks; a bottleneck ResNet needs projections.");
    }
}
