using KernelContrast.Cases.Oracle;
using KernelContrast.TorchSharpSupport;
using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Oracle;

/// <summary>
/// Runs the recipes in libtorch. With KERNELCONTRAST_WRITE_FIXTURES set to a path it writes the fixtures there; else it
/// checks that those in the repository are still what libtorch says, and that ours agree with libtorch now.
/// </summary>
[TestFixture]
internal sealed class LiveOracleTests
{
    private static readonly Dictionary<string, Func<Dictionary<string, float[]>>> s_theirs = new()
    {
        ["conv2d"] = Conv2d,
        ["batch-norm"] = BatchNorm,
        ["adamw"] = () => Optimize(p => torch.optim.AdamW([p], OracleRecipes.AdamWRate, weight_decay: OracleRecipes.AdamWDecay)),
        ["sgd"] = () => Optimize(p => torch.optim.SGD([p], OracleRecipes.SgdRate, OracleRecipes.SgdMomentum, weight_decay: OracleRecipes.SgdDecay, nesterov: true)),
        ["resnet18"] = () => Network(new TorchVisionResNet([2, 2, 2, 2], bottleneck: false, smallStem: true, outputs: 10), OracleRecipes.ResNet18Images, training: true),
        ["resnet50"] = () => Network(new TorchVisionResNet([3, 4, 6, 3], bottleneck: true, smallStem: false, outputs: 10), OracleRecipes.ResNet50Images, training: false),
    };

    static LiveOracleTests()
    {
        foreach ((string kind, Func<Dictionary<string, float[]>> run) in TorchLosses.All) s_theirs.Add("loss " + kind, run);
    }

    [OneTimeSetUp]
    public void Load() => LibTorchLoader.Prepare();

    [Test]
    public void Every_recipe_has_an_oracle() => Assert.That(s_theirs.Keys, Is.EquivalentTo(OracleRecipes.All.Keys));

    [Test]
    public void Fixtures_are_what_libtorch_says()
    {
        var results = s_theirs.ToDictionary(t => t.Key, t => t.Value());
        if (Environment.GetEnvironmentVariable("KERNELCONTRAST_WRITE_FIXTURES") is { Length: > 0 } path)
        {
            OracleFixtures.Write(path, results);
            return;
        }
        OracleFixtures kept = OracleFixtures.Read(Path.Combine(AppContext.BaseDirectory, "Fixtures", "oracle.json"));
        Assert.Multiple(() =>
        {
            foreach ((string recipe, Dictionary<string, float[]> theirs) in results)
                Assert.That(OracleFixtures.Difference(kept[recipe], theirs, recipe.StartsWith("resnet", StringComparison.Ordinal) ? 1e-3 : 1e-6), Is.Null, recipe);
        });
    }

    [TestCaseSource(typeof(OracleRecipes), nameof(OracleRecipes.Tolerances))]
    public void Ours_agrees_with_libtorch_now(string recipe, double tolerance) =>
        Assert.That(OracleFixtures.Difference(s_theirs[recipe](), OracleRecipes.All[recipe](), tolerance), Is.Null);

    private static Dictionary<string, float[]> Conv2d()
    {
        using var scope = torch.NewDisposeScope();
        TorchTensor x = Leaf(OracleRecipes.ConvInput, 1), w = Leaf(OracleRecipes.ConvWeight, 2), b = Leaf(new(OracleRecipes.ConvWeight[0]), 3);
        TorchTensor y = functional.conv2d(x, w, b, strides: [2, 2], padding: [1, 1]);
        y.backward([From(OracleRecipes.Numbers(OracleRecipes.ConvOutput, 4), OracleRecipes.ConvOutput)]);
        return new() { ["y"] = ToArray(y), ["grad x"] = ToArray(x.grad!), ["grad weight"] = ToArray(w.grad!), ["grad bias"] = ToArray(b.grad!) };
    }

    private static Dictionary<string, float[]> BatchNorm()
    {
        using var scope = torch.NewDisposeScope();
        int channels = OracleRecipes.BatchNormInput[1];
        TorchTensor x = Leaf(OracleRecipes.BatchNormInput, 5), gamma = Leaf(new(channels), 6), beta = Leaf(new(channels), 7);
        TorchTensor mean = torch.zeros(channels), variance = torch.ones(channels);
        functional.batch_norm(x.detach(), mean, variance, gamma.detach(), beta.detach(), training: true, momentum: OracleRecipes.BatchNormMomentum);
        TorchTensor y = functional.batch_norm(x, mean, variance, gamma, beta, training: true, momentum: OracleRecipes.BatchNormMomentum);
        y.backward([From(OracleRecipes.Numbers(OracleRecipes.BatchNormInput, 8), OracleRecipes.BatchNormInput)]);
        TorchTensor evaluated = functional.batch_norm(x.detach(), mean, variance, gamma.detach(), beta.detach(), training: false);
        return new()
        {
            ["y"] = ToArray(y),
            ["grad x"] = ToArray(x.grad!),
            ["grad gamma"] = ToArray(gamma.grad!),
            ["grad beta"] = ToArray(beta.grad!),
            ["running mean"] = ToArray(mean),
            ["running variance"] = ToArray(variance),
            ["evaluated"] = ToArray(evaluated),
        };
    }

    private static Dictionary<string, float[]> Optimize(Func<TorchSharp.Modules.Parameter, torch.optim.Optimizer> create)
    {
        using var scope = torch.NewDisposeScope();
        var shape = new Shape(OracleRecipes.OptimizerSize);
        var parameter = new TorchSharp.Modules.Parameter(From(OracleRecipes.Numbers(shape, 10), shape));
        using torch.optim.Optimizer optimizer = create(parameter);
        for (int step = 0; step < OracleRecipes.OptimizerSteps; step++)
        {
            optimizer.zero_grad();
            (parameter * 1f).backward([From(OracleRecipes.Numbers(shape, 20 + (ulong)step), shape)]);
            optimizer.step();
        }
        return new() { ["parameter"] = ToArray(parameter) };
    }

    private static Dictionary<string, float[]> Network(TorchVisionResNet net, Shape images, bool training)
    {
        // In double precision: a deep network's float32 gradients differ from one correct implementation to the next.
        using var scope = torch.NewDisposeScope();
        net.to(torch.ScalarType.Float64);
        net.train(training);
        using (torch.no_grad())
            foreach ((string name, TorchSharp.Modules.Parameter parameter) in net.named_parameters())
            {
                var shape = new Shape([.. parameter.shape.Select(s => (int)s)]);
                parameter.copy_(From(OracleRecipes.ParameterValues(name, shape), shape));
            }
        TorchTensor logits = net.call(From(OracleRecipes.Numbers(images, 30), images).to(torch.ScalarType.Float64));
        TorchTensor loss = functional.cross_entropy(logits, torch.arange(images[0]));
        loss.backward();
        var results = new Dictionary<string, float[]> { ["logits"] = ToArray(logits), ["loss"] = ToArray(loss) };
        foreach ((string name, TorchSharp.Modules.Parameter parameter) in net.named_parameters()) results[$"grad {name}"] = OracleRecipes.Digest(ToArray(parameter.grad!));
        foreach ((string name, TorchTensor buffer) in net.named_buffers())
            if (buffer.dtype == torch.ScalarType.Float64) results[$"buffer {name}"] = OracleRecipes.Digest(ToArray(buffer));
        return results;
    }

    private static TorchTensor From(float[] values, Shape shape) => torch.tensor(values, [.. shape.Sizes.ToArray().Select(s => (long)s)]);

    private static TorchTensor Leaf(Shape shape, ulong seed) => From(OracleRecipes.Numbers(shape, seed), shape).requires_grad_(true);

    private static float[] ToArray(TorchTensor x)
    {
        using TorchTensor dense = x.detach().to(torch.ScalarType.Float32).contiguous();
        return dense.data<float>().ToArray();
    }
}
