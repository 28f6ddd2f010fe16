using KernelContrast.Cases;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What NT-Xent promises on every device: the same bounds whatever the rows look like, the same bits every time.</summary>
[TestFixture]
internal sealed class NtXentContractTests
{
    private const double Bound = 1e-5;

    /// <summary>Random rows; converged pairs; all rows the same; all rows nearly the same.</summary>
    private static readonly string[] Kinds = ["random", "converged", "collapsed", "nearly collapsed"];

    private static readonly float[] Temperatures = [10, 0.05f, 0.02f, 0.001f];

    [Test]
    public void Loss_and_gradient_keep_their_bounds([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string device, [ValueSource(nameof(Kinds))] string kind)
    {
        foreach ((int pairs, int dim) in new[] { (1, 7), (33, 2048), (65, 1), (129, 128) })
            foreach (float temperature in Temperatures)
            {
                float[] h = Rows(kind, 2 * pairs, dim);
                var reference = new NtXentReference(Array.ConvertAll(h, x => (double)x), 2 * pairs, dim, temperature, PairLayout.Halves);
                (float loss, float[] gradient) = Run(Device.Parse(device), h, 2 * pairs, temperature);
                string what = $"{kind}, {pairs} pairs of {dim}, τ {temperature}";
                Assert.That(Math.Abs(loss - reference.Loss), Is.LessThanOrEqualTo(Bound * Math.Max(1, Math.Abs(reference.Loss))), what);
                double[] expected = reference.Gradient(1), size = reference.GradientScale(1);
                for (int i = 0; i < gradient.Length; i++)
                    if (!(Math.Abs(gradient[i] - expected[i]) <= Bound * size[i]))
                        Assert.Fail($"{what}: gradient[{i}] is {gradient[i]:G9}, expected {expected[i]:G9} ± {Bound * size[i]:G2}");
            }
    }

    [TestCase(0.1f), TestCase(0.01f)]
    public void Every_order_of_threads_gives_the_same_bits_on_cuda_emulated(float temperature)
    {
        float[] h = Rows("random", 300, 70);
        (float Loss, float[] Gradient)? first = null;
        foreach (string order in Emulated.Orders)
        {
            using IDisposable setting = Emulated.InOrder(order);
            (float Loss, float[] Gradient) now = Run(Emulated.Device, h, 300, temperature);
            first ??= now;
            Assert.That(now.Loss, Is.EqualTo(first.Value.Loss));
            Assert.That(now.Gradient, Is.EqualTo(first.Value.Gradient));
        }
    }

    private static (float Loss, float[] Gradient) Run(Device device, float[] h, int rows, float temperature)
    {
        using Tensor embeddings = Tensor.From<float>(h, new(rows, h.Length / rows), device);
        embeddings.RequiresGrad = true;
        using Tensor loss = NtXent.Loss(embeddings, temperature);
        loss.Backward();
        return (loss.Item(), embeddings.Grad!.ToArray());
    }

    private static float[] Rows(string kind, int rows, int dim)
    {
        var random = new PhiloxStream(seed: 7, stream: 1);
        var h = new float[rows * dim];
        for (int i = 0; i < h.Length; i++)
        {
            float x = random.NextNormal();
            h[i] = kind switch
            {
                "random" => x,
                "converged" => i < h.Length / 2 ? x : h[i - h.Length / 2] + 1e-4f * x,
                "collapsed" => i < dim ? x : h[i % dim],
                _ => i < dim ? x : h[i % dim] + 1e-3f * x,
            };
        }
        return h;
    }
}
