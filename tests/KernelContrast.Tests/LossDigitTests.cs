using KernelContrast.Cases;
using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>Digits that the contract's bounds alone do not ask for on the CPU: what is left where large terms cancel.</summary>
[TestFixture]
internal sealed class LossDigitTests
{
    private const int Rows = 12, Dim = 24;

    /// <summary>Pairs a tenth of a radian apart, at right angles to all others, τ = 0.05: negatives leave e⁻²⁰ of each sum, less than a float of 1 − P can tell.</summary>
    [TestCase(LossKind.NtXent), TestCase(LossKind.InfoNce), TestCase(LossKind.Clip), TestCase(LossKind.Moco)]
    public void Loss_and_gradient_of_converged_pairs_keep_their_digits(LossKind kind)
    {
        bool within = kind == LossKind.NtXent;
        int pairs = within ? Rows / 2 : Rows;
        bool moco = kind == LossKind.Moco;
        float[] first = Axes(pairs, 0), second = Axes(pairs, 0.1), h = within ? [.. first, .. second] : first;
        // MoCo's queue is at right angles to every query.
        float[] keys = within ? [] : moco ? Axes(3, Math.PI / 2) : second, positives = moco ? second : [];
        float[] gradient = new float[h.Length], losses = new float[h.Length / Dim];
        var call = new LossCall(kind, h.Length / Dim, keys.Length / Dim, Dim, 0.05f) { Reduction = Reduction.None };
        call.Run(new() { Embeddings = h, Keys = keys, Positives = positives, Losses = losses, GradEmbeddings = gradient });
        var exact = new ContrastReference(kind, Doubles(h), within ? null : Doubles(keys), moco ? Doubles(positives) : null, Dim, 0.05f);
        double[] expected = exact.Gradient([.. Enumerable.Repeat(1.0, h.Length / Dim)], Reduction.None).Value.Rows;
        double size = expected.Max(Math.Abs);
        Assert.That(exact.Losses.Max(), Is.GreaterThan(0).And.LessThan(1e-7));
        for (int i = 0; i < losses.Length; i++) Assert.That(losses[i], Is.EqualTo(exact.Losses[i]).Within(1e-4 * exact.Losses[i]), $"loss {i}");
        Assert.That(gradient, Is.EqualTo(expected).Within(1e-4 * size));

        // Row i along axis 2i, turned by an angle toward axis 2i + 1.
        static float[] Axes(int count, double angle)
        {
            var values = new float[count * Dim];
            for (int i = 0; i < count; i++)
            {
                values[i * Dim + 2 * i] = (float)Math.Cos(angle);
                values[i * Dim + 2 * i + 1] = (float)Math.Sin(angle);
            }
            return values;
        }
    }

    /// <summary>Rows that nearly agree at τ = 0.001: 1/τ makes one unit in the last place of a similarity of 2,048 products 6e-5 of a loss.</summary>
    [Test]
    public void Every_rows_loss_at_a_small_temperature_keeps_the_contract()
    {
        const int rows = 66, dim = 2048;
        float[] h = Near(rows, dim, 1e-3f), losses = new float[rows];
        new LossCall(LossKind.NtXent, rows, 0, dim, 1e-3f) { Reduction = Reduction.None }.Run(new() { Embeddings = h, Losses = losses });
        var exact = new ContrastReference(LossKind.NtXent, Doubles(h), null, null, dim, 1e-3f);
        for (int i = 0; i < rows; i++) Assert.That(losses[i], Is.EqualTo(exact.Losses[i]).Within(1e-5 * Math.Max(1, exact.Losses[i])), $"row {i}");
    }

    /// <summary>Logits of a few units, left of s/τ = 1000 and b = −1000.</summary>
    [Test]
    public void Siglip_keeps_the_digits_of_logits_that_a_large_bias_cancels()
    {
        float[] images = Near(Rows, Dim, 0.01f), texts = Near(Rows, Dim, 0.012f), gradient = new float[images.Length], gradTexts = new float[images.Length];
        var call = new LossCall(LossKind.SigLip, Rows, Rows, Dim, 1e-3f) { Bias = -1000 };
        LossResult result = call.Run(new() { Embeddings = images, Keys = texts, GradEmbeddings = gradient, GradKeys = gradTexts });
        var exact = new ContrastReference(LossKind.SigLip, Doubles(images), Doubles(texts), null, Dim, 1e-3f, -1000);
        Assert.That(result.GradBias, Is.EqualTo(exact.Gradient([1], Reduction.Mean).Value.Bias).Within(1e-5 * Rows));
        Assert.That(result.Loss, Is.EqualTo(exact.Loss(Reduction.Mean)).Within(1e-5 * exact.Loss(Reduction.Mean)));
    }

    /// <summary>Losses far below what a double beside 1 can tell: N negatives at right angles cost N·e^(−s/τ), e⁻⁴⁰ and e⁻⁵⁰.</summary>
    [Test]
    public void Losses_of_pairs_that_have_converged_wholly_keep_their_digits([Values("cpu", "cuda")] string device, [Values(0.025f, 0.02f)] float temperature)
    {
        const int pairs = 6;
        using var scope = new TensorScope();
        Device on = device == "cpu" ? Device.Cpu : TestDevice.Cuda;
        var h = new float[2 * pairs * Dim];
        for (int i = 0; i < 2 * pairs; i++) h[i * Dim + i % pairs] = 1;
        Tensor batch = Tensor.From<float>(h, new(2 * pairs, Dim), on), rows = Tensor.From<float>(h.AsSpan(0, pairs * Dim), new(pairs, Dim), on);
        double one = Math.Exp(-1 / (double)temperature);
        Assert.That(NtXent.Loss(batch, temperature).Item() / ((2 * pairs - 2) * one), Is.EqualTo(1).Within(1e-4));
        foreach (Tensor loss in new[] { InfoNce.Loss(rows, rows, temperature), Clip.Loss(rows, rows, temperature) })
            Assert.That(loss.Item() / ((pairs - 1) * one), Is.EqualTo(1).Within(1e-4));
        // Halfway between pairs and others, so that each of a row's terms is e^(−½/τ).
        Assert.That(SigLip.Loss(rows, rows, temperature, -0.5f / temperature).Item() / (pairs * Math.Sqrt(one)), Is.EqualTo(1).Within(1e-4));
    }

    [TestCase(false), TestCase(true)]
    public void Info_nce_times_2_tau_is_just_that(bool learned)
    {
        const float temperature = 0.3f;
        (double plain, float[] gradient, double ofTau) = Of(false);
        (double scaled, float[] scaledGradient, double scaledOfTau) = Of(true);
        Assert.That(scaled, Is.EqualTo(2 * temperature * plain).Within(1e-6 * plain));
        Assert.That(scaledGradient, Is.EqualTo(gradient.Select(g => 2 * temperature * g)).Within(1e-6 * gradient.Max(Math.Abs)));
        if (learned) Assert.That(scaledOfTau, Is.EqualTo(2 * plain + 2 * temperature * ofTau).Within(1e-5 * plain));

        (double, float[], double) Of(bool scale)
        {
            using var scope = new TensorScope();
            Tensor queries = Tensor.From<float>(Near(Rows, Dim, 1), new(Rows, Dim)), keys = Tensor.RandomNormal(new(Rows, Dim), 3), tau = Tensor.From<float>([temperature], new());
            queries.RequiresGrad = tau.RequiresGrad = true;
            Tensor loss = learned ? InfoNce.Loss(queries, keys, tau, scaleBy2Tau: scale) : InfoNce.Loss(queries, keys, temperature, scaleBy2Tau: scale);
            loss.Backward();
            return (loss.Item(), queries.Grad!.ToArray(), learned ? tau.Grad!.Item() : 0);
        }
    }

    /// <summary>The epilogues' functions to a few units in the last place, wherever a logit may lie.</summary>
    [Test]
    public void Functions_of_the_epilogues_are_exact_to_a_few_units()
    {
        double softplus = 0, sigmoid = 0, exponential = 0;
        for (int i = -8600; i <= 8600; i++)
        {
            // y is what the functions see: a logit in base 2
            float y = i * 0.0146f;
            double x = y * Math.Log(2);
            softplus = Math.Max(softplus, Error(Lane(ContrastMath.Softplus(F128.Create(y))), x > 0 ? x + ContrastMath.Log1P(Math.Exp(-x)) : ContrastMath.Log1P(Math.Exp(x))));
            sigmoid = Math.Max(sigmoid, Error(Lane(ContrastMath.Sigmoid(F128.Create(y))), 1 / (1 + Math.Exp(-x))));
            exponential = Math.Max(exponential, Error(Lane(ContrastMath.Exp2(F128.Create(y))), Math.Exp(x)));
        }
        TestContext.Out.WriteLine($"softplus {softplus:g3}, sigmoid {sigmoid:g3}, exponential {exponential:g3}");
        Assert.That(softplus, Is.LessThan(3e-7));
        Assert.That(sigmoid, Is.LessThan(2.5e-7));
        Assert.That(exponential, Is.LessThan(1.5e-7));
        Assert.That(ContrastMath.Log1P(1e-17), Is.EqualTo(1e-17));
        Assert.That(ContrastMath.Log1P(1e-9), Is.EqualTo(1e-9 - 5e-19).Within(1e-24));
        Assert.That(ContrastMath.Log1P(double.PositiveInfinity), Is.EqualTo(double.PositiveInfinity));

        static double Error(float value, double exact) => Math.Abs(value - exact) / exact;

        static unsafe float Lane(F128 v)
        {
            float* lanes = stackalloc float[4];
            F128.Store(lanes, v);
            return lanes[0];
        }
    }

    /// <summary>Keys that labels leave a single negative each: their gradient is one sigmoid, whose error nothing averages.</summary>
    [Test]
    public void Siglips_gradient_of_keys_with_one_pair_left_keeps_its_bound([Values("cpu", "cuda")] string device, [Values(1e-3f, 0.01f, 0.023f, 0.05f)] float temperature, [Values(9, 64, 300)] int dim)
    {
        const int rows = 24, columns = 70;
        using var scope = new TensorScope();
        Device on = device == "cpu" ? Device.Cpu : TestDevice.Cuda;
        int[] labels = [.. Enumerable.Range(0, columns).Select(j => j == 5 ? 1 : 0)];
        Tensor images = Tensor.RandomNormal(new(rows, dim), 1, device: on), texts = Tensor.RandomNormal(new(columns, dim), 2, device: on);
        texts.RequiresGrad = true;
        SigLip.Loss(images, texts, temperature, -2, labels: Tensor.From<int>(labels, new(columns), on)).Backward();
        var exact = new ContrastReference(LossKind.SigLip, Doubles(images.ToArray()), Doubles(texts.ToArray()), null, dim, temperature, -2, labels: labels);
        (ContrastReference.Gradients value, ContrastReference.Gradients scale) = exact.Gradient([1], Reduction.Mean);
        float[] got = texts.Grad!.ToArray();
        double worst = 0;
        for (int e = 0; e < got.Length; e++) worst = Math.Max(worst, scale.Columns[e] < 1e-30 ? 0 : Math.Abs(got[e] - value.Columns[e]) / (1e-5 * scale.Columns[e]));
        TestContext.Out.WriteLine($"{worst:f2} of the bound");
        Assert.That(worst, Is.LessThanOrEqualTo(1));
    }

    private static float[] Near(int rows, int dim, float apart)
    {
        var random = new PhiloxStream(seed: 9, stream: 2);
        var values = new float[rows * dim];
        for (int i = 0; i < values.Length; i++)
        {
            float x = random.NextNormal();
            values[i] = i < dim ? x : values[i % dim] + apart * x;
        }
        return values;
    }

    private static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);
}
