using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Cases.Oracle;

/// <summary>
/// Computations that libtorch repeats on the same numbers. Inputs and weights come from Philox, not from our
/// initialisation, so the fixtures do not depend on it.
/// </summary>
public static class OracleRecipes
{
    /// <summary>A recipe's name and our results, by name.</summary>
    public static IReadOnlyDictionary<string, Func<Dictionary<string, float[]>>> All { get; } = new Dictionary<string, Func<Dictionary<string, float[]>>>
    {
        ["conv2d"] = Conv2d,
        ["batch-norm"] = BatchNorm,
        ["adamw"] = () => Optimize(p => new AdamW(p, AdamWRate, weightDecay: AdamWDecay, decayVectors: true)),
        ["sgd"] = () => Optimize(p => new Sgd(p, SgdRate, SgdMomentum, nesterov: true, weightDecay: SgdDecay, decayVectors: true)),
        ["resnet18"] = () => Network(ResNetConfig.ResNet18() with { Stem = ResNetStem.Cifar, Classes = 10 }, ResNet18Images, training: true),
        // In evaluation mode: with 16 values per channel in its last stages, training amplifies rounding so much that
        // libtorch's own float32 and float64 gradients differ by a third.
        ["resnet50"] = () => Network(ResNetConfig.ResNet50() with { Classes = 10 }, ResNet50Images, training: false),
    }.Concat(LossRecipes.All.Select(l => KeyValuePair.Create("loss " + l.Key, l.Value))).ToDictionary();

    /// <summary>Each recipe with how far ours may be from libtorch's, as <see cref="OracleFixtures.Difference"/> takes it.</summary>
    public static IEnumerable<object[]> Tolerances() =>
        All.Keys.Select(recipe => new object[] { recipe, recipe switch { "resnet18" => 2e-3, "resnet50" => 5e-3, _ => 1e-5 } });

    public const double AdamWRate = 0.01, AdamWDecay = 0.1, SgdRate = 0.05, SgdMomentum = 0.9, SgdDecay = 0.01;
    public const int OptimizerSteps = 5, OptimizerSize = 37, GradientSamples = 8;
    public const float BatchNormMomentum = 0.1f;

    public static Shape ResNet18Images => new(4, 3, 32, 32);

    public static Shape ResNet50Images => new(4, 3, 64, 64);

    public static Shape ConvInput => new(2, 3, 9, 11);

    public static Shape ConvWeight => new(5, 3, 3, 3);

    public static Shape ConvOutput => new(2, 5, 5, 6);

    public static Shape BatchNormInput => new(3, 4, 5, 6);

    /// <summary>Standard normal numbers of a seed, in NCHW order.</summary>
    public static float[] Numbers(Shape shape, ulong seed)
    {
        var random = new PhiloxStream(seed, stream: 4242);
        var values = new float[shape.Count];
        foreach (ref float value in values.AsSpan()) value = random.NextNormal();
        return values;
    }

    /// <summary>The values a parameter of a network is given: He-scaled weights, scales around 1, small shifts.</summary>
    public static float[] ParameterValues(string name, Shape shape)
    {
        ulong seed = 14695981039346656037;
        foreach (char c in name) seed = (seed ^ c) * 1099511628211;
        float[] values = Numbers(shape, seed);
        double scale = shape.Rank switch { 4 => Math.Sqrt(2.0 / (shape[1] * shape[2] * shape[3])), 2 => 0.1, _ => 0.1 };
        double shift = shape.Rank == 1 && name.EndsWith("weight", StringComparison.Ordinal) ? 1 : 0;
        for (int i = 0; i < values.Length; i++) values[i] = (float)(values[i] * scale + shift);
        return values;
    }

    /// <summary>A gradient in short: its norm, and a few of its elements.</summary>
    public static float[] Digest(ReadOnlySpan<float> gradient)
    {
        double square = 0;
        foreach (float g in gradient) square += (double)g * g;
        var digest = new float[1 + GradientSamples];
        digest[0] = (float)Math.Sqrt(square);
        for (int i = 0; i < GradientSamples; i++) digest[i + 1] = gradient[(int)((long)gradient.Length * i / GradientSamples)];
        return digest;
    }

    private static Dictionary<string, float[]> Conv2d()
    {
        using var scope = new TensorScope();
        Tensor x = Leaf(ConvInput, 1), w = Leaf(ConvWeight, 2), b = Leaf(new(ConvWeight[0]), 3);
        Tensor y = Functional.Conv2d(x, w, b, stride: 2, padding: 1);
        y.Backward(Tensor.From<float>(Numbers(ConvOutput, 4), ConvOutput));
        return new() { ["y"] = y.ToArray(), ["grad x"] = x.Grad!.ToArray(), ["grad weight"] = w.Grad!.ToArray(), ["grad bias"] = b.Grad!.ToArray() };
    }

    private static Dictionary<string, float[]> BatchNorm()
    {
        using var scope = new TensorScope();
        int channels = BatchNormInput[1];
        Tensor x = Leaf(BatchNormInput, 5), gamma = Leaf(new(channels), 6), beta = Leaf(new(channels), 7);
        Tensor mean = Tensor.Zeros(new(channels)), variance = Tensor.Full(new(channels), 1);
        Functional.BatchNorm(x.Detach(), gamma.Detach(), beta.Detach(), mean, variance, training: true, BatchNormMomentum);
        Tensor y = Functional.BatchNorm(x, gamma, beta, mean, variance, training: true, BatchNormMomentum);
        y.Backward(Tensor.From<float>(Numbers(BatchNormInput, 8), BatchNormInput));
        Tensor evaluated = Functional.BatchNorm(x.Detach(), gamma.Detach(), beta.Detach(), mean, variance, training: false);
        return new()
        {
            ["y"] = y.ToArray(),
            ["grad x"] = x.Grad!.ToArray(),
            ["grad gamma"] = gamma.Grad!.ToArray(),
            ["grad beta"] = beta.Grad!.ToArray(),
            ["running mean"] = mean.ToArray(),
            ["running variance"] = variance.ToArray(),
            ["evaluated"] = evaluated.ToArray(),
        };
    }

    private static Dictionary<string, float[]> Optimize(Func<IReadOnlyList<(string, Tensor)>, Optimizer> create)
    {
        using var scope = new TensorScope();
        Tensor parameter = Leaf(new(OptimizerSize), 10);
        using Optimizer optimizer = create([("p", parameter)]);
        for (int step = 0; step < OptimizerSteps; step++)
        {
            optimizer.ClearGradients();
            Functional.Scale(parameter, 1).Backward(Tensor.From<float>(Numbers(new(OptimizerSize), 20 + (ulong)step), new(OptimizerSize)));
            optimizer.Step();
        }
        return new() { ["parameter"] = parameter.ToArray() };
    }

    private static Dictionary<string, float[]> Network(ResNetConfig config, Shape images, bool training)
    {
        using var scope = new TensorScope();
        using var net = new ResNet(config);
        foreach ((string name, Tensor tensor) in net.NamedParameters())
            tensor.CopyFrom(Tensor.From<float>(ParameterValues(name, tensor.Shape), tensor.Shape));
        if (!training) net.Eval();
        Tensor logits = net.Forward(Tensor.From<float>(Numbers(images, 30), images));
        Tensor labels = Tensor.From<int>([.. Enumerable.Range(0, images[0])], new(images[0]));
        Tensor loss = Functional.CrossEntropy(logits, labels);
        loss.Backward();
        var results = new Dictionary<string, float[]> { ["logits"] = logits.ToArray(), ["loss"] = [loss.Item()] };
        foreach ((string name, Tensor tensor) in net.NamedParameters()) results[$"grad {name}"] = Digest(tensor.Grad!.ToArray());
        foreach ((string name, Tensor tensor) in net.NamedBuffers())
            if (tensor.Type == DType.Float32) results[$"buffer {name}"] = Digest(tensor.ToArray());
        return results;
    }

    private static Tensor Leaf(Shape shape, ulong seed)
    {
        Tensor tensor = Tensor.From<float>(Numbers(shape, seed), shape);
        tensor.RequiresGrad = true;
        return tensor;
    }
}
