using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Tests;

/// <summary>bfloat16 tensors and <see cref="Autocast"/>: types, scopes, errors, and networks that train under it.</summary>
[TestFixture]
internal sealed class AutocastTests
{
    private static IEnumerable<Device> Devices() => [Device.Cpu, TestDevice.Cuda];

    [Test]
    public void A_cast_rounds_to_nearest_even_and_keeps_its_bits([ValueSource(nameof(Devices))] Device device)
    {
        using var scope = new TensorScope();
        float[] values = [1, 1 + 1 / 256f, 1 + 3 / 256f, -3.14159265f, float.NaN, 1e-40f, 3.4e38f];
        Tensor half = Tensor.From<float>(values, new(values.Length), device).To(DType.BFloat16);
        ushort[] expected = [0x3f80, 0x3f80, 0x3f82, 0xc049, 0x7fff, 0x0001, 0x7f80];
        Assert.That(half.Type, Is.EqualTo(DType.BFloat16));
        Assert.That(half.Bytes, Is.EqualTo(2 * values.Length));
        Assert.That(half.ToArray<ushort>(), Is.EqualTo(expected));
        Assert.That(half.ToArray(), Is.EqualTo(half.To(DType.Float32).ToArray()));
        Assert.That(Tensor.From<ushort>(expected, new(values.Length), device).ToArray(), Is.EqualTo(half.ToArray()));
        Assert.That(half.To(DType.BFloat16), Is.SameAs(half));
        Assert.That(() => half.To(DType.Int32), Throws.ArgumentException.With.Message.Contains("Int32"));
    }

    [Test]
    public void Scopes_nest_and_end()
    {
        Assert.That(Autocast.Precision, Is.EqualTo(Precision.Float32));
        using (Autocast.To(Precision.BFloat16))
        {
            Assert.That(Autocast.Precision, Is.EqualTo(Precision.BFloat16));
            using (Autocast.To(Precision.Float32)) Assert.That(Autocast.Precision, Is.EqualTo(Precision.Float32));
            Assert.That(Autocast.Precision, Is.EqualTo(Precision.BFloat16));
        }
        Assert.That(Autocast.Precision, Is.EqualTo(Precision.Float32));
        Assert.That(() => Autocast.To((Precision)7), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("Tf32"));
    }

    [Test]
    public void Gradients_have_the_types_of_their_inputs([ValueSource(nameof(Devices))] Device device)
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(new(3, 8), 1, device), weight = Tensor.RandomNormal(new(5, 8), 2, device), bias = Tensor.RandomNormal(new(5), 3, device);
        foreach (Tensor leaf in new[] { x, weight, bias }) leaf.RequiresGrad = true;
        Tensor y;
        using (Autocast.To(Precision.BFloat16)) y = Functional.Linear(x, weight, bias);
        Assert.That(y.Type, Is.EqualTo(device == Device.Cpu ? DType.Float32 : DType.BFloat16));
        Functional.Sum(y.To(DType.Float32)).Backward();
        foreach (Tensor leaf in new[] { x, weight, bias }) Assert.That(leaf.Grad!.Type, Is.EqualTo(DType.Float32));
        Assert.That(bias.Grad!.ToArray(), Is.All.EqualTo(3));
    }

    [Test]
    public void Gradients_of_a_bfloat16_tensor_with_two_consumers_add_up([ValueSource(nameof(Devices))] Device device)
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.From<float>([1, 2, 3], new(3), device);
        x.RequiresGrad = true;
        Tensor half = x.To(DType.BFloat16);
        Tensor sum = Functional.Add(half.To(DType.Float32), Functional.Scale(half.To(DType.Float32), 4));
        Functional.Sum(sum).Backward();
        Assert.That(x.Grad!.ToArray(), Is.All.EqualTo(5));
    }

    [Test]
    public void Ops_that_compute_in_float32_say_what_to_do()
    {
        using var scope = new TensorScope();
        Tensor here = Tensor.RandomNormal(new(4, 4), 1).To(DType.BFloat16), there = here.To(TestDevice.Cuda);
        Assert.That(() => Functional.MatMul(here, here), Throws.ArgumentException.With.Message.Contains("cpu").And.Message.Contains("To(DType.Float32)"));
        Assert.That(() => Functional.Relu(here), Throws.ArgumentException.With.Message.Contains("cpu").And.Message.Contains("To(DType.Float32)"));
        Assert.That(() => Functional.Gelu(there), Throws.ArgumentException.With.Message.Contains("To(DType.Float32)"));
        Assert.That(() => there.Backward(there), Throws.InvalidOperationException);
        Assert.That(Functional.MatMul(there, there).Type, Is.EqualTo(DType.BFloat16));
    }

    [TestCase(200, 264, 40, false, false), TestCase(128, 136, 72, true, true)]
    public void Large_tiles_give_what_small_ones_give(int rows, int columns, int depth, bool transposeA, bool transposeB)
    {
        using var scope = new TensorScope();
        Tensor a = Tensor.RandomNormal(transposeA ? new(depth, rows) : new(rows, depth), 1, TestDevice.Cuda).To(DType.BFloat16);
        Tensor b = Tensor.RandomNormal(transposeB ? new(columns, depth) : new(depth, columns), 2, TestDevice.Cuda).To(DType.BFloat16);
        Tensor small = Tensor.Empty(new(rows, columns), TestDevice.Cuda), large = Tensor.Empty(new(rows, columns), TestDevice.Cuda);
        Gemm.RunCuda(small, a, transposeA, b, transposeB, depth, Precision.BFloat16);
        var kernel = new Devices.CudaKernel("nn/gemm_bf16", "gemm_bf16_large");
        int tiles = (rows + 127) / 128 * ((columns + 127) / 128);
        kernel.Launch(TestDevice.Cuda, new(tiles, 128), large, a, b, (Tensor?)null, rows, columns, depth, transposeA, transposeB, false, false);
        Assert.That(large.ToArray(), Is.EqualTo(small.ToArray()));
        // with the epilogue: bias, ReLU, and bfloat16 out
        Tensor bias = Tensor.RandomNormal(new(columns), 4, TestDevice.Cuda), rectified = Tensor.Empty(new(rows, columns), TestDevice.Cuda, DType.BFloat16);
        kernel.Launch(TestDevice.Cuda, new(tiles, 128), rectified, a, b, bias, rows, columns, depth, transposeA, transposeB, true, true);
        Tensor expected = Functional.Relu(Functional.Add(small, bias)).To(DType.BFloat16);
        Assert.That(expected.ToArray().Count(v => v == 0), Is.InRange(rows * columns / 3, rows * columns * 2 / 3));
        Assert.That(rectified.ToArray<ushort>(), Is.EqualTo(expected.ToArray<ushort>()));
    }

    /// <summary>Enough pixels for the kernels with tiles of 128 pixels, and not a whole number of tiles.</summary>
    [Test]
    public void A_convolution_of_many_pixels_gives_what_the_cpu_gives()
    {
        using var scope = new TensorScope();
        Tensor[] Inputs(Device device)
        {
            Tensor[] inputs = [Tensor.RandomNormal(new(5, 8, 59, 57), 1, device), Tensor.RandomNormal(new(8, 8, 3, 3), 2, device)];
            foreach (Tensor input in inputs) input.RequiresGrad = true;
            return inputs;
        }
        Tensor[] here = Inputs(Device.Cpu), there = Inputs(TestDevice.Cuda);
        foreach (Tensor[] t in new[] { here, there })
            using (Autocast.To(Precision.BFloat16))
            {
                Tensor y = Functional.Conv2d(t[0], t[1], padding: 1).To(DType.Float32);
                y.Backward(Tensor.RandomNormal(y.Shape, 3, y.Device));
            }
        for (int i = 0; i < 2; i++)
        {
            float[] expected = here[i].Grad!.ToArray(), actual = there[i].Grad!.ToArray();
            float largest = expected.Max(Math.Abs);
            for (int e = 0; e < expected.Length; e++)
                if (!(Math.Abs(actual[e] - expected[e]) <= 1e-4f * largest)) Assert.Fail($"gradient {i}[{e}] is {actual[e]}, on the CPU {expected[e]}");
        }
    }

    [Test]
    public void A_small_ResNet_trains_under_autocast_as_in_float32([ValueSource(nameof(Devices))] Device device, [Values(Precision.Tf32, Precision.BFloat16)] Precision precision)
    {
        double[] expected = Losses(device, Precision.Float32), actual = Losses(device, precision);
        Assert.That(expected[^1], Is.LessThan(0.7 * expected[0]), "it learns");
        Assert.That(actual, Is.EqualTo(expected).Within(precision == Precision.Tf32 ? 0.01 : 0.06));
        Assert.That(actual, Is.Not.EqualTo(expected).Within(1e-7));
    }

    /// <summary>Losses of a classifier of eight noisy images, with every kind of layer of a ResNet.</summary>
    private static double[] Losses(Device device, Precision precision)
    {
        using ResNet net = new ResNet(ResNetConfig.ResNet18() with { Blocks = [1, 1], Widths = [8, 16], InputChannels = 3, Classes = 4 }, seed: 5).To(device);
        using var optimizer = new Sgd(net.NamedParameters(), learningRate: 0.05, momentum: 0.9);
        var losses = new double[6];
        for (int step = 0; step < losses.Length; step++)
        {
            using var scope = new TensorScope();
            optimizer.ClearGradients();
            Tensor images = Tensor.RandomNormal(new(8, 3, 17, 16), 6, device), labels = Tensor.From<int>([0, 1, 2, 3, 0, 1, 2, 3], new(8), device);
            Tensor logits;
            using (Autocast.To(precision)) logits = net.Forward(images).To(DType.Float32);
            Tensor loss = Functional.CrossEntropy(logits, labels);
            losses[step] = loss.Item();
            loss.Backward();
            optimizer.Step();
        }
        return losses;
    }
}
