using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>Products and convolutions give the same bits again and again; most of them for any number of threads.</summary>
[TestFixture]
[NonParallelizable]
internal sealed class ProductDeterminismTests
{
    [Test]
    public void A_matrix_product_has_the_same_bits_for_any_number_of_threads()
    {
        using var scope = new TensorScope();
        Tensor a = Tensor.RandomNormal(new(301, 403), 1), b = Tensor.RandomNormal(new(403, 97), 2);
        float[] one = WithThreads(1, () => Functional.MatMul(a, b).ToArray());
        foreach (int threads in new[] { 2, 3 })
            for (int repeat = 0; repeat < 3; repeat++)
                Assert.That(WithThreads(threads, () => Functional.MatMul(a, b).ToArray()), Is.EqualTo(one), $"{threads} threads");
    }

    [TestCase(2)]
    [TestCase(3)]
    public void A_convolution_and_its_gradients_have_the_same_bits_every_time(int threads)
    {
        float[][] first = WithThreads(threads, Convolution);
        for (int repeat = 0; repeat < 5; repeat++)
            Assert.That(WithThreads(threads, Convolution), Is.EqualTo(first));
    }

    private static float[][] Convolution()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(new(29, 16, 14, 14), 1), weight = Tensor.RandomNormal(new(20, 16, 3, 3), 2);
        Tensor bias = Tensor.RandomNormal(new(20), 3);
        x.RequiresGrad = weight.RequiresGrad = bias.RequiresGrad = true;
        Tensor y = Functional.Conv2d(x, weight, bias, stride: 1, padding: 1);
        y.Backward(Tensor.RandomNormal(y.Shape, 4));
        return [y.ToArray(), x.Grad!.ToArray(), weight.Grad!.ToArray(), bias.Grad!.ToArray()];
    }

    private static T WithThreads<T>(int threads, Func<T> run)
    {
        var cpu = (CpuDevice)Device.Cpu;
        int before = cpu.Threads;
        cpu.Threads = threads;
        try { return run(); }
        finally { cpu.Threads = before; }
    }
}
