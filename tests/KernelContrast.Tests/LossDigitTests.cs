using KernelContrast.Cases;
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
