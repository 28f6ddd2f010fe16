using KernelContrast.Cases;
using KernelContrast.Losses;
using KernelContrast.Nn;
using KernelContrast.Optim;

namespace KernelContrast.Tests;

/// <summary>The losses whose scale and bias are learned.</summary>
[TestFixture]
internal sealed class LossHeadTests
{
    private const int Rows = 12, Dim = 5;

    private static string[] Devices => TestDevice.Names;

    [Test]
    public void They_begin_as_their_papers_say()
    {
        using var scope = new TensorScope();
        using var clip = new ClipHead();
        using var siglip = new SigLipHead();
        Assert.That(clip.NamedParameters().Select(p => p.Name), Is.EqualTo(new[] { "logit_scale" }));
        Assert.That(siglip.NamedParameters().Select(p => p.Name), Is.EqualTo(new[] { "logit_scale", "logit_bias" }));
        Assert.That(clip.LogScale.Item(), Is.EqualTo(Math.Log(1 / 0.07)).Within(1e-6));
        Assert.That(siglip.LogScale.Item(), Is.EqualTo(Math.Log(10)).Within(1e-6));
        Assert.That(siglip.Bias.Item(), Is.EqualTo(-10));
        Assert.That(() => new ClipHead(temperature: 0.001f), Throws.ArgumentException.With.Message.Contains("0.01 to 1"));
        Assert.That(() => clip.Forward(Tensor.Zeros(new(3, 2))), Throws.ArgumentException.With.Message.Contains("[3, 2]"));
    }

    /// <summary>Of the reference in double precision, by central differences of ln scale and b.</summary>
    [Test]
    public void Gradients_reach_the_logarithm_of_the_scale_the_bias_and_both_sides([ValueSource(nameof(Devices))] string device, [Values] bool siglip)
    {
        using var scope = new TensorScope();
        Device on = Device.Parse(device);
        Tensor x = Tensor.RandomNormal(new(2 * Rows, Dim), 1, on);
        x.RequiresGrad = true;
        double[] values = [.. x.ToArray().Select(v => (double)v)], images = values[..(Rows * Dim)], texts = values[(Rows * Dim)..];
        double logScale, bias, gradScale, gradBias = 0;
        if (siglip)
        {
            using var head = new SigLipHead(on);
            (logScale, bias) = (head.LogScale.Item(), head.Bias.Item());
            Tensor loss = head.Forward(x);
            Assert.That(loss.Item(), Is.EqualTo(At(logScale, bias)).Within(1e-5));
            loss.Backward();
            (gradScale, gradBias) = (head.LogScale.Grad!.Item(), head.Bias.Grad!.Item());
        }
        else
        {
            using var head = new ClipHead(on);
            (logScale, bias) = (head.LogScale.Item(), 0);
            Tensor loss = head.Forward(x);
            Assert.That(loss.Item(), Is.EqualTo(At(logScale, bias)).Within(1e-5 * loss.Item()));
            loss.Backward();
            gradScale = head.LogScale.Grad!.Item();
        }
        const double step = 1e-4;
        double expected = (At(logScale + step, bias) - At(logScale - step, bias)) / (2 * step);
        Assert.That(Math.Abs(expected), Is.GreaterThan(1e-4));
        Assert.That(gradScale, Is.EqualTo(expected).Within(2e-5 * Math.Max(1, Math.Abs(expected))));
        if (siglip) Assert.That(gradBias, Is.EqualTo((At(logScale, bias + step) - At(logScale, bias - step)) / (2 * step)).Within(1e-5));
        ContrastReference.Gradients exact = Reference(logScale, bias).Gradient([1], Reduction.Mean).Value;
        Assert.That(x.Grad!.ToArray(), Is.EqualTo(exact.Rows.Concat(exact.Columns)).Within(1e-5));

        double At(double scale, double b) => Reference(scale, b).Loss(Reduction.Mean);
        ContrastReference Reference(double scale, double b) => new(siglip ? LossKind.SigLip : LossKind.Clip, images, texts, null, Dim, Math.Exp(-scale), b);
    }

    [Test]
    public void The_scale_of_clip_stays_at_most_100_and_can_come_back([ValueSource(nameof(Devices))] string device)
    {
        using var scope = new TensorScope();
        Device on = Device.Parse(device);
        using var head = new ClipHead(on);
        Tensor images = Tensor.RandomNormal(new(Rows, Dim), 1, on), texts = Tensor.RandomNormal(new(Rows, Dim), 2, on);
        head.LogScale.CopyFrom(Tensor.From<float>([7], new(), on));
        Tensor loss = head.Loss(images, texts);
        double atBound = Clip.Loss(images, texts, 0.01f).Item();
        Assert.That(loss.Item(), Is.EqualTo(atBound).Within(1e-5 * atBound));
        Assert.That(Math.Exp(head.LogScale.Item()), Is.EqualTo(100).Within(1e-4).And.LessThanOrEqualTo(100));
        // Unrelated pairs: a smaller scale lowers the loss, so the gradient at the bound leads back inside.
        loss.Backward();
        Assert.That(head.LogScale.Grad!.Item(), Is.GreaterThan(0.1f));

        // Nothing learns, nothing moves: evaluation bounds the value, not the parameter.
        head.Eval();
        head.LogScale.CopyFrom(Tensor.From<float>([7], new(), on));
        Assert.That(head.Loss(images, texts).Item(), Is.EqualTo(loss.Item()));
        Assert.That(head.LogScale.Item(), Is.EqualTo(7));

        head.Train();
        head.LogScale.CopyFrom(Tensor.From<float>([-1], new(), on));
        double atOne = Clip.Loss(images, texts, 1f).Item();
        Assert.That(head.Loss(images, texts).Item(), Is.EqualTo(atOne).Within(1e-5 * atOne));
        Assert.That(head.LogScale.Item(), Is.Zero);
    }

    /// <summary>Pairs that agree want a sharper softmax: the scale grows, up to its bound, while SigLIP's bias learns how rare pairs are.</summary>
    [Test]
    public void An_optimizer_learns_scale_and_bias([ValueSource(nameof(Devices))] string device)
    {
        Device on = Device.Parse(device);
        using Tensor images = Tensor.RandomNormal(new(Rows, 32), 1, on);
        using var clip = new ClipHead(on);
        using var siglip = new SigLipHead(on);
        using var optimizer = new AdamW([.. clip.NamedParameters(), .. siglip.NamedParameters().Select(p => ("siglip." + p.Name, p.Tensor))], learningRate: 1, weightDecay: 0);
        float first = 0, last = 0;
        for (int step = 0; step < 30; step++)
        {
            using var scope = new TensorScope();
            optimizer.ClearGradients();
            Tensor loss = Functional.Add(clip.Loss(images, images), siglip.Loss(images, images));
            loss.Backward();
            optimizer.Step();
            last = loss.Item();
            if (step == 0) first = last;
        }
        Assert.That(last, Is.LessThan(first / 10));
        using var none = new NoGrad();
        using Tensor bounded = clip.Loss(images, images);
        Assert.That(clip.LogScale.Item(), Is.GreaterThan(4).And.LessThanOrEqualTo(Math.Log(100)));
        Assert.That(siglip.Bias.Item(), Is.Not.EqualTo(-10).And.LessThan(0));
    }
}
