using KernelContrast.Nn;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class StateDictTests
{
    private static readonly ResNetConfig s_config = ResNetConfig.Small(8, 2, 2, 4) with { InputChannels = 1, Classes = 3 };

    private string _path = "";

    [SetUp]
    public void MakeDirectory() => _path = Path.Combine(Directory.CreateTempSubdirectory("kc-state").FullName, "net.safetensors");

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(Path.GetDirectoryName(_path)!, recursive: true);

    [Test]
    public void A_saved_model_is_loaded_to_the_bit()
    {
        using var saved = new ResNet(s_config, seed: 1);
        using var loaded = new ResNet(s_config, seed: 2);
        StateDict.Save(saved, _path);
        LoadReport report = StateDict.Load(loaded, _path);
        Assert.That(report.Missing.Concat(report.Unexpected), Is.Empty);
        foreach (((string name, Tensor a), (_, Tensor b)) in saved.NamedTensors().Zip(loaded.NamedTensors()))
            Assert.That(b.ToArray(), Is.EqualTo(a.ToArray()), name);
    }

    [Test]
    public void Counters_of_pytorch_are_ignored_and_a_prefix_is_cut()
    {
        using var scope = new TensorScope();
        using var saved = new ResNet(s_config, seed: 1);
        using var loaded = new ResNet(s_config, seed: 2);
        List<KeyValuePair<string, Tensor>> tensors = [.. saved.NamedTensors().Select(t => KeyValuePair.Create($"encoder.{t.Name}", t.Tensor))];
        tensors.Add(new("encoder.bn1.num_batches_tracked", Tensor.From<int>([5], new())));
        tensors.Add(new("other", Tensor.Zeros(new(1))));
        Safetensors.Write(_path, tensors);
        StateDict.Load(loaded, _path, prefix: "encoder.");
        Assert.That(loaded.NamedTensors()[0].Tensor.ToArray(), Is.EqualTo(saved.NamedTensors()[0].Tensor.ToArray()));
    }

    [Test]
    public void All_that_does_not_fit_is_listed_and_nothing_is_loaded()
    {
        using var scope = new TensorScope();
        using var net = new ResNet(s_config, seed: 1);
        float[] before = net.NamedTensors()[0].Tensor.ToArray();
        Dictionary<string, Tensor> tensors = net.NamedTensors().ToDictionary(t => t.Name, t => t.Tensor);
        tensors["conv1.weight"] = Tensor.Zeros(tensors["conv1.weight"].Shape);
        tensors.Remove("layer1.0.bn1.running_mean");
        tensors["fc.weight"] = Tensor.Zeros(new(10, 4));
        tensors["head.weight"] = Tensor.Zeros(new(1));
        Assert.That(() => StateDict.Load(net, tensors), Throws.ArgumentException.With.Message.Contains("missing: layer1.0.bn1.running_mean")
            .And.Message.Contains("unexpected: head.weight").And.Message.Contains("fc.weight (saved [10, 4], expected [3, 4])"));
        Assert.That(() => StateDict.Load(net, tensors, strict: false), Throws.ArgumentException.With.Message.Contains("fc.weight"));
        Assert.That(net.NamedTensors()[0].Tensor.ToArray(), Is.EqualTo(before));
    }

    [Test]
    public void Not_strict_loads_what_there_is_and_reports_the_rest()
    {
        using var scope = new TensorScope();
        using var net = new ResNet(s_config with { Classes = 0 }, seed: 1);
        using var whole = new ResNet(s_config, seed: 2);
        Dictionary<string, Tensor> tensors = whole.NamedTensors().ToDictionary(t => t.Name, t => t.Tensor);
        tensors.Remove("bn1.bias");
        LoadReport report = StateDict.Load(net, tensors, strict: false);
        Assert.That(report.Missing, Is.EqualTo(new[] { "bn1.bias" }));
        Assert.That(report.Unexpected, Is.EquivalentTo(new[] { "fc.weight", "fc.bias" }));
        Assert.That(net.NamedTensors()[0].Tensor.ToArray(), Is.EqualTo(whole.NamedTensors()[0].Tensor.ToArray()));
    }
}
