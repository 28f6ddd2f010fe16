namespace KernelContrast.Nn;

/// <summary>
/// The small networks between an encoder's features and the loss; thrown away after training. Layers start as
/// <see cref="Linear"/> says.
/// </summary>
public static class ProjectionHead
{
    /// <summary>The names <see cref="Create"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["simclr-v1", "simclr-v2", "moco-v2"];

    /// <summary>Linear, batch norm, ReLU, linear; the hidden layer as wide as the features.</summary>
    /// <remarks>
    /// Chen et al.: "A simple framework for contrastive learning", 2020, section 4.2: W₂ relu(W₁h), output 128. Their code
    /// normalises the hidden layer, as here; it also normalises the output, which here only <see cref="SimClrV2"/> does.
    /// </remarks>
    public static Sequential SimClrV1(int features, Initializer random, int outputs = 128, int? hidden = null, Normalization norm = Normalization.Batch)
    {
        ArgumentNullException.ThrowIfNull(random);
        int width = hidden ?? features;
        return new(new Linear(features, width, random, bias: false), new BatchNorm1d(width, random, norm: norm), new Relu(),
            new Linear(width, outputs, random));
    }

    /// <summary>Three linear layers without bias, each with batch norm; ReLU behind the first two.</summary>
    /// <remarks>Chen et al.: "Big self-supervised models are strong semi-supervised learners", 2020, section 2, and their code.</remarks>
    public static Sequential SimClrV2(int features, Initializer random, int outputs = 128, int? hidden = null, Normalization norm = Normalization.Batch)
    {
        ArgumentNullException.ThrowIfNull(random);
        int width = hidden ?? features;
        return new(new Linear(features, width, random, bias: false), new BatchNorm1d(width, random, norm: norm), new Relu(),
            new Linear(width, width, random, bias: false), new BatchNorm1d(width, random, norm: norm), new Relu(),
            new Linear(width, outputs, random, bias: false), new BatchNorm1d(outputs, random, norm: norm));
    }

    /// <summary>Linear, ReLU, linear, with biases and without batch norm.</summary>
    /// <remarks>Chen, Fan, Girshick, He: "Improved baselines with momentum contrastive learning", 2020; hidden 2048 there.</remarks>
    public static Sequential MoCoV2(int features, Initializer random, int outputs = 128, int? hidden = null)
    {
        ArgumentNullException.ThrowIfNull(random);
        int width = hidden ?? features;
        return new(new Linear(features, width, random), new Relu(), new Linear(width, outputs, random));
    }

    /// <summary>A head by its name.</summary>
    /// <exception cref="ArgumentException">There is no such head.</exception>
    public static Sequential Create(string name, int features, Initializer random, int outputs = 128, int? hidden = null, Normalization norm = Normalization.Batch)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(random);
        return name switch
        {
            "simclr-v1" => SimClrV1(features, random, outputs, hidden, norm),
            "simclr-v2" => SimClrV2(features, random, outputs, hidden, norm),
            "moco-v2" => MoCoV2(features, random, outputs, hidden),
            _ => throw new ArgumentException($"There is no projection head '{name}'. Choose one of {string.Join(", ", Names)}."),
        };
    }
}
