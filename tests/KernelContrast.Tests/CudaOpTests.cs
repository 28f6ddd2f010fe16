using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>What the op cases do not reach of the CUDA kernels: errors, bits, and arrays larger than a grid.</summary>
[TestFixture]
internal sealed class CudaOpTests
{
    /// <summary>More elements than the largest grid has threads: threads take a second one, and not all of them.</summary>
    private static readonly Shape Large = new(17, 11, 75, 76);

    private static CudaDevice Cuda => TestDevice.Cuda;

    [Test]
    public void Bad_labels_and_indices_are_named()
    {
        using var scope = new TensorScope();
        Tensor matrix = Tensor.Full(new(700, 4), 1, Cuda);
        int[] labels = new int[700];
        labels[699] = 9;
        Assert.That(() => Functional.CrossEntropy(matrix, Labels()), Throws.ArgumentException.With.Message.Contains("row 699 is 9"));
        labels[300] = -2;
        Assert.That(() => Functional.CrossEntropy(matrix, Labels()), Throws.ArgumentException.With.Message.Contains("row 300 is -2"));
        Assert.That(() => Functional.Embedding(Tensor.Full(new(9, 4), 1, Cuda), Labels()), Throws.ArgumentException.With.Message.Contains("index 300 is -2"));

        Tensor Labels() => Tensor.From<int>(labels, new(700), Cuda);
    }

    [Test]
    public void More_loops_than_a_launch_can_carry_are_refused_by_name()
    {
        using var scope = new TensorScope();
        Shape a = new(2, 1, 2, 1, 2, 1, 2, 1, 2), b = new(1, 2, 1, 2, 1, 2, 1, 2, 1);
        Assert.That(() => Functional.Add(Tensor.Full(a, 1, Cuda), Tensor.Full(b, 1, Cuda)),
            Throws.TypeOf<NotSupportedException>().With.Message.Contains("9").And.Message.Contains("Reshape"));
    }

    /// <summary>Ops of x, and of parameters that they add to a list.</summary>
    private static IEnumerable<TestCaseData> Reductions()
    {
        yield return Named("sum", (x, _) => Functional.Sum(x));
        yield return Named("rows", (x, p) => Functional.Mul(x, Ones(p, new(310, 1))));
        yield return Named("columns", (x, p) => Functional.Mul(x, Ones(p, new(270))));
        yield return Named("softmax", (x, _) => Functional.Softmax(x, 0.5f));
        yield return Named("cross-entropy", (x, _) => Functional.CrossEntropy(x, Numbers(310, i => i % 270)));
        yield return Named("l2-normalize", (x, _) => Functional.L2Normalize(x));
        yield return Named("layer-norm", (x, p) => Functional.LayerNorm(x, Ones(p, new(270)), Ones(p, new(270))));
        yield return Named("embedding", (x, _) => Functional.Embedding(x, Numbers(500, i => i * i % 41)));

        static TestCaseData Named(string name, Func<Tensor, List<Tensor>, Tensor> op) => new TestCaseData(op).SetArgDisplayNames(name);

        static Tensor Numbers(int count, Func<int, int> number) => Tensor.From<int>([.. Enumerable.Range(0, count).Select(number)], new(count), Cuda);

        static Tensor Ones(List<Tensor> parameters, Shape shape)
        {
            Tensor ones = Tensor.Full(shape, 1, Cuda);
            ones.RequiresGrad = true;
            parameters.Add(ones);
            return ones;
        }
    }

    [TestCaseSource(nameof(Reductions))]
    public void Bits_do_not_depend_on_the_order_of_threads(Func<Tensor, List<Tensor>, Tensor> op)
    {
        float[][] first = Bits(op, Emulated.Orders[0]), second = Bits(op, Emulated.Orders[1]);
        Assert.That(first, Has.Length.GreaterThan(1));
        for (int i = 0; i < first.Length; i++)
            if (!first[i].SequenceEqual(second[i])) Assert.Fail(i == 0 ? "output" : $"gradient {i - 1}");
    }

    /// <summary>The output, then the gradients of x and of the parameters.</summary>
    private static float[][] Bits(Func<Tensor, List<Tensor>, Tensor> op, string order)
    {
        using var scope = new TensorScope();
        using IDisposable setting = Emulated.InOrder(order);
        Tensor x = Tensor.RandomNormal(new(310, 270), 9, Cuda);
        x.RequiresGrad = true;
        List<Tensor> inputs = [x];
        Tensor y = op(x, inputs);
        y.Backward(Tensor.RandomNormal(y.Shape, 10, Cuda));
        return [y.ToArray(), .. inputs.Select(i => i.Grad!.ToArray())];
    }

    [Test]
    public void Dropout_keeps_the_elements_the_cpu_keeps_and_their_bits()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(new(1003), 5);
        float[] here = Functional.Dropout(x, 0.3f, 0x1234567890ABCDEF, 0xFEDCBA0987654321).ToArray();
        float[] there = Functional.Dropout(x.To(Cuda), 0.3f, 0x1234567890ABCDEF, 0xFEDCBA0987654321).ToArray();
        Assert.That(there, Is.EqualTo(here));
    }

    [Test]
    public void Dropout_on_a_grid_smaller_than_its_elements_is_the_same()
    {
        using Tensor x = Tensor.Full(new(777), 1, Cuda), whole = Functional.Dropout(x, 0.5f, 3, 4), part = Tensor.Zeros(new(777), Cuda);
        new CudaKernel("nn/dropout", "dropout").Launch(Cuda, new(2, 32), part, x, 0.5f, 2f, 3ul, 4ul, 777L);
        Assert.That(part.ToArray(), Is.EqualTo(whole.ToArray()));
    }

    private static IEnumerable<TestCaseData> OfLargeArrays()
    {
        yield return Named("relu", x => Functional.Relu(x));
        yield return Named("gelu", x => Functional.Gelu(x));
        yield return Named("scale", x => Functional.Scale(x, -3));
        yield return Named("exp", x => Functional.Exp(x));
        yield return Named("clamp", x => Functional.Clamp(x, -1, 0.5f));
        yield return Named("add", x => Functional.Add(x, x));
        yield return Named("mul by channel", x => Functional.Mul(x, Functional.Slice(x, 0, 0, 1)));
        yield return Named("slice", x => Functional.Slice(x, 1, 0, 11));
        yield return Named("sum", x => Functional.Sum(x));
        yield return Named("max pool", x => Functional.MaxPool2d(x, 3, 1, 1));
        yield return Named("average pool", x => Functional.AvgPool2d(x, 3, 1, 1));
        yield return Named("global average pool", x => Functional.GlobalAvgPool(x));

        static TestCaseData Named(string name, Func<Tensor, Tensor> op) => new TestCaseData(op).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(OfLargeArrays))]
    public void An_array_larger_than_the_grid_gives_what_the_cpu_gives(Func<Tensor, Tensor> op)
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(Large, 7), onCuda = x.To(Cuda);
        Assert.That(x.Count, Is.GreaterThan(4096 * 256).And.LessThan(2 * 4096 * 256));
        x.RequiresGrad = onCuda.RequiresGrad = true;
        Tensor expected = op(x), actual = op(onCuda), upstream = Tensor.RandomNormal(expected.Shape, 8);
        AssertClose(actual, expected, "output");
        expected.Backward(upstream);
        actual.Backward(upstream.To(Cuda));
        AssertClose(onCuda.Grad!, x.Grad!, "gradient");
    }

    private static void AssertClose(Tensor actual, Tensor expected, string what)
    {
        float[] a = actual.ToArray(), e = expected.ToArray();
        Assert.That(a, Has.Length.EqualTo(e.Length));
        for (int i = 0; i < a.Length; i++)
            if (!(Math.Abs(a[i] - e[i]) <= 2e-5f * (1 + Math.Abs(e[i])))) Assert.Fail($"{what}[{i}] is {a[i]:G9}, on the CPU {e[i]:G9}");
    }
}
