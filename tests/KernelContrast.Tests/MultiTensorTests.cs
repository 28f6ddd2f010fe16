using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Tests;

/// <summary>Whole optimizers and averages over many ragged tensors: the emulated CUDA device follows the CPU step by step.</summary>
[TestFixture]
internal sealed class MultiTensorTests
{
    /// <summary>43 tensors, from one element to several chunks of 4096, vectors and weights.</summary>
    private static readonly Shape[] s_shapes =
        [.. Enumerable.Range(0, 40).Select(i => i % 3 == 0 ? new Shape(1 + 7 * i) : new Shape(1 + i % 5, 3 * i)), new(4096), new(4097), new(3, 4096)];

    private static Optimizer Make(string kind, List<(string, Tensor)> parameters) => kind switch
    {
        "sgd" => new Sgd(parameters, 1, 0.9, nesterov: true, weightDecay: 0.01),
        "plain sgd" => new Sgd(parameters, 1),
        "adamw" => new AdamW(parameters),
        "lars" => new Lars(parameters, 1, weightDecay: 1e-2, trust: 0.1),
        _ => new Lars(parameters, 1, trust: 0.1, form: LarsMomentum.RateOutside),
    };

    [Test]
    public void Steps_are_those_of_the_cpu_and_their_bits_do_not_depend_on_the_order_of_threads([Values("sgd", "plain sgd", "adamw", "lars", "lars outside")] string kind)
    {
        float[][] expected = Run(kind, Device.Cpu), actual = Run(kind, TestDevice.Cuda);
        for (int t = 0; t < expected.Length; t++)
            Assert.That(actual[t], Is.EqualTo(expected[t]).Within(3e-6f), $"tensor {t} {s_shapes[t]}");
        using IDisposable order = Emulated.InOrder(Emulated.Orders[3]);
        float[][] again = Run(kind, TestDevice.Cuda);
        for (int t = 0; t < actual.Length; t++) Assert.That(again[t], Is.EqualTo(actual[t]), $"tensor {t}");
    }

    private static float[][] Run(string kind, Device device)
    {
        using var scope = new TensorScope();
        List<(string, Tensor Tensor)> parameters = [.. s_shapes.Select((shape, i) => ($"p{i}", Tensor.RandomNormal(shape, (ulong)i, device)))];
        foreach ((_, Tensor parameter) in parameters) parameter.RequiresGrad = true;
        using Optimizer optimizer = Make(kind, parameters);
        for (int step = 0; step < 5; step++)
        {
            optimizer.LearningRate = 0.01 * (step + 1);
            optimizer.ClearGradients();
            for (int i = 0; i < parameters.Count; i++)
                if ((i + step) % 7 != 0) // not every tensor has a gradient each time, so the table changes
                    parameters[i].Tensor.Backward(Tensor.RandomNormal(s_shapes[i], (ulong)(100 + i + 50 * step), device));
            optimizer.Step();
        }
        return [.. parameters.Select(p => p.Tensor.ToArray())];
    }

    [Test]
    public void Lars_of_a_zero_weight_or_gradient_has_a_ratio_of_one_and_nan_stays_nan()
    {
        using var scope = new TensorScope();
        Device cuda = TestDevice.Cuda;
        Tensor zero = Tensor.Zeros(new(2, 2), cuda), still = Tensor.Full(new(2, 2), 3, cuda), broken = Tensor.Full(new(2, 2), float.NaN, cuda);
        zero.RequiresGrad = still.RequiresGrad = broken.RequiresGrad = true;
        using var optimizer = new Lars([("zero", zero), ("still", still), ("broken", broken)], 0.5, weightDecay: 0);
        zero.Backward(Tensor.Full(new(2, 2), 1, cuda));
        still.Backward(Tensor.Zeros(new(2, 2), cuda));
        broken.Backward(Tensor.Full(new(2, 2), 1, cuda));
        optimizer.Step();
        Assert.That(zero.ToArray(), Is.All.EqualTo(-0.5f));
        Assert.That(still.ToArray(), Is.All.EqualTo(3f));
        Assert.That(broken.ToArray(), Is.All.NaN);
    }

    [Test]
    public void The_table_is_sent_again_only_when_a_tensor_changed()
    {
        using var scope = new TensorScope();
        Device cuda = TestDevice.Cuda;
        Tensor p = Tensor.Full(new(5), 1, cuda), first = Tensor.Full(new(5), 2, cuda), second = Tensor.Full(new(5), 3, cuda);
        using var group = new TensorGroup(new GroupEntry(p, first));
        Tensor table = group.Table(out int chunks);
        byte[] sent = table.ToArray<byte>();
        Assert.That(chunks, Is.EqualTo(1));
        cuda.Clear(table.Buffer, table.Bytes);
        Assert.That(group.Table(out _).ToArray<byte>(), Is.All.Zero, "the same tensors: not sent");
        group.Clear();
        group.Add(new(p, second));
        Assert.That(group.Table(out _), Is.SameAs(table));
        Assert.That(table.ToArray<byte>(), Is.Not.EqualTo(sent).And.Some.Not.Zero, "another source: sent");
        group.Clear();
        group.Add(new(Tensor.Zeros(new(0), cuda), Tensor.Zeros(new(0), cuda)));
        group.Table(out chunks);
        Assert.That(chunks, Is.Zero);
        Assert.That(() => group.Add(new(Tensor.Zeros(new(3)), Tensor.Zeros(new(3)))), Throws.ArgumentException.With.Message.Contains("one device"));
        Assert.That(() => group.Add(new(p, Tensor.Zeros(new(4), cuda))), Throws.ArgumentException.With.Message.Contains("cannot follow"));
    }

    [Test]
    public void An_average_follows_its_source([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        Device device = Device.Parse(name);
        using Linear target = new Linear(9, 5, new Initializer(1)).To(device), source = new Linear(9, 5, new Initializer(2)).To(device);
        using var ema = new Ema(target, source, decay: 0.75);
        (float[] t, float[] s) = (target.NamedParameters()[0].Tensor.ToArray(), source.NamedParameters()[0].Tensor.ToArray());
        ema.Update();
        ema.Update();
        Assert.That(target.NamedParameters()[0].Tensor.ToArray(), Is.EqualTo(t.Zip(s, (a, b) => b + 0.5625f * (a - b))).Within(1e-6f));
        Assert.That(ema.Steps, Is.EqualTo(2));
        ema.Reset();
        ema.Update();
        Assert.That(target.NamedParameters()[0].Tensor.ToArray(), Is.EqualTo(s), "equal tensors keep their bits");
        Assert.That(source.NamedParameters()[0].Tensor.ToArray(), Is.EqualTo(s));
    }

    [Test]
    public void The_decay_of_byol_grows_by_a_cosine_and_mocos_stays()
    {
        using Linear target = new(3, 2, new Initializer(1)), source = new(3, 2, new Initializer(2)), other = new(3, 4, new Initializer(3));
        using var byol = new Ema(target, source, decay: 0.9, totalSteps: 4);
        double[] decays = new double[6];
        for (int k = 0; k < decays.Length; k++)
        {
            decays[k] = byol.Decay;
            byol.Update();
        }
        Assert.That(decays, Is.EqualTo(new[] { 0.9, 1 - 0.1 * (Math.Sqrt(0.5) + 1) / 2, 0.95, 1 - 0.1 * (1 - Math.Sqrt(0.5)) / 2, 1, 1 }).Within(1e-12));
        byol.Steps = 2;
        Assert.That(byol.Decay, Is.EqualTo(0.95).Within(1e-12));
        using var moco = new Ema(target, source, decay: 0.999) { Steps = 1000 };
        Assert.That(moco.Decay, Is.EqualTo(0.999));
        using var forgetful = new Ema(target, source, decay: 0.5, forgetsStart: true);
        Array.Resize(ref decays, 10);
        for (int k = 0; k < decays.Length; k++)
        {
            decays[k] = forgetful.Decay;
            forgetful.Update();
        }
        Assert.That(decays, Is.EqualTo(new[] { 1 / 10.0, 2 / 11.0, 3 / 12.0, 4 / 13.0, 5 / 14.0, 6 / 15.0, 7 / 16.0, 8 / 17.0, 0.5, 0.5 }).Within(1e-12));
        Assert.That(() => new Ema(target, other), Throws.ArgumentException.With.Message.Contains("same architecture"));
        Assert.That(() => new Ema(target, source, decay: 1.5), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => new Ema(target, source, totalSteps: -1), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }
}
