namespace KernelContrast.Tests;

[TestFixture]
internal sealed class TapeTests
{
    [Test]
    public void A_tensor_with_two_consumers_gets_the_sum_of_their_gradients()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.From<float>([1f, -2f, 3f], new(3));
        x.RequiresGrad = true;
        Tensor shared = Functional.Relu(x);
        Tensor up = Tensor.From<float>([1f, 10f, 100f], new(3));
        Functional.Relu(shared).Backward(up, keepGraph: true);
        Functional.Relu(shared).Backward(up);
        Assert.That(x.Grad!.ToArray(), Is.EqualTo(new[] { 2f, 0f, 200f }));
    }

    [Test]
    public void A_second_backward_says_what_to_do()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.Full(new(2), 1);
        x.RequiresGrad = true;
        Tensor y = Functional.Relu(x);
        y.Backward(Tensor.Full(new(2), 1));
        Assert.That(() => y.Backward(Tensor.Full(new(2), 1)), Throws.InvalidOperationException.With.Message.Contains("keepGraph"));
    }

    [Test]
    public void Nothing_is_recorded_under_NoGrad_or_after_Detach()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.Full(new(2), 1);
        x.RequiresGrad = true;
        using (new NoGrad()) Assert.That(Functional.Relu(x).RequiresGrad, Is.False);
        Assert.That(Functional.Relu(x.Detach()).RequiresGrad, Is.False);
        Assert.That(Functional.Relu(x).RequiresGrad, Is.True);
    }

    [Test]
    public void Live_bytes_return_to_what_they_were_with_and_without_backward()
    {
        long before = Device.Cpu.Memory.LiveBytes;
        for (int i = 0; i < 3; i++)
        {
            using var scope = new TensorScope();
            Tensor x = Tensor.RandomNormal(new(64, 64), 1);
            x.RequiresGrad = true;
            Tensor y = x;
            for (int depth = 0; depth < 50; depth++) y = Functional.Relu(y);
            if (i > 0) y.Backward(Tensor.Full(y.Shape, 1));
        }
        Assert.That(Device.Cpu.Memory.LiveBytes, Is.EqualTo(before));
    }

    [Test]
    public void A_long_chain_is_released_without_overflowing_the_stack()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.Full(new(1), 1);
        x.RequiresGrad = true;
        Tensor y = x;
        for (int depth = 0; depth < 100_000; depth++)
        {
            Tensor next = Functional.Relu(y);
            if (y != x) y.Dispose();
            y = next;
        }
        y.Backward();
        Assert.That(x.Grad!.Item(), Is.EqualTo(1));
    }

    [Test]
    public void Rank_4_is_NCHW_outside_and_channels_innermost_inside()
    {
        using Tensor x = Tensor.From<float>([0f, 1, 2, 3, 4, 5, 6, 7], new(1, 2, 2, 2));
        Assert.That(x.AsSpan<float>().ToArray(), Is.EqualTo(new[] { 0f, 4, 1, 5, 2, 6, 3, 7 }));
        Assert.That(x.ToArray(), Is.EqualTo(new[] { 0f, 1, 2, 3, 4, 5, 6, 7 }));
    }

    [Test]
    public void Hooks_see_the_whole_gradient()
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.Full(new(2), 1);
        x.RequiresGrad = true;
        float[]? seen = null;
        x.RegisterHook(g => seen = g.ToArray());
        Functional.Relu(x).Backward(Tensor.From<float>([3f, 4f], new(2)));
        Assert.That(seen, Is.EqualTo(new[] { 3f, 4f }));
    }
}
