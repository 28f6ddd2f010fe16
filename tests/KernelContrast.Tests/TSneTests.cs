using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class TSneTests
{
    [Test]
    public void Clusters_of_many_dimensions_stay_apart_in_the_plane()
    {
        (FeatureMatrix features, int[] labels) = LinearProbeTests.Blobs(303, 20, classes: 4, spread: 0.4f, seed: 1);
        TSneResult result = TSne.Embed(features, new TSneOptions { Iterations = 500 });
        Assert.That(result.Divergence, Is.InRange(0, 1.2));
        double[][] centre = [.. Enumerable.Range(0, 4).Select(c => Enumerable.Range(0, 2).Select(axis =>
            Enumerable.Range(0, 303).Where(i => labels[i] == c).Average(i => (double)result.Points.Row(i)[axis])).ToArray())];
        for (int i = 0; i < features.Rows; i++)
        {
            ReadOnlySpan<float> point = result.Points.Row(i);
            double[] away = new double[4];
            for (int c = 0; c < 4; c++) away[c] = Math.Pow(point[0] - centre[c][0], 2) + Math.Pow(point[1] - centre[c][1], 2);
            Assert.That(Array.IndexOf(away, away.Min()), Is.EqualTo(labels[i]), $"point {i}");
        }
        Assert.That(result.Points.Values.Average(), Is.Zero.Within(1e-3));
    }

    [Test]
    public void The_picture_is_bit_identical_for_any_number_of_threads()
    {
        (FeatureMatrix features, _) = LinearProbeTests.Blobs(150, 6, classes: 3, spread: 1, seed: 2);
        var options = new TSneOptions { Iterations = 300, Perplexity = 10 };
        int threads = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = 1;
            TSneResult one = TSne.Embed(features, options);
            Device.Cpu.Threads = 3;
            Assert.That(TSne.Embed(features, options).Points.Values, Is.EqualTo(one.Points.Values));
        }
        finally { Device.Cpu.Threads = threads; }
    }

    [Test]
    public void The_gradient_is_that_of_the_divergence([Values(128, 256, 512)] int bits)
    {
        if (bits > Devices.Simd.HardwareBits) Assert.Ignore($"no vectors of {bits} bits here");
        using IDisposable limit = Devices.Simd.Limit(bits);
        // 37 and not a multiple of any vector, spread so that p and q differ.
        (FeatureMatrix features, _) = LinearProbeTests.Blobs(37, 5, classes: 3, spread: 1, seed: 3);
        (FeatureMatrix at, _) = LinearProbeTests.Blobs(37, 2, classes: 2, spread: 1, seed: 4);
        using PaddedMatrix affinities = TSne.Affinities(features, 8);
        using var plane = new TSne.Plane(at);
        plane.Gradient(affinities, exaggeration: 1);
        for (int axis = 0; axis < 2; axis++)
        {
            for (int i = 0; i < 37; i++)
            {
                const float Step = 1f / 256;
                float kept = plane.Coordinates(axis)[i], up = kept + Step, down = kept - Step;
                plane.Coordinates(axis)[i] = up;
                double above = plane.Divergence(affinities);
                plane.Coordinates(axis)[i] = down;
                double below = plane.Divergence(affinities);
                plane.Coordinates(axis)[i] = kept;
                Assert.That(plane.GradientOf(axis)[i], Is.EqualTo((above - below) / ((double)up - down)).Within(2e-6), $"{axis}, {i}");
            }
        }
    }

    [Test]
    public unsafe void Affinities_are_symmetric_sum_to_one_and_have_the_perplexity_asked_for()
    {
        // Regular polygons: every point sees the same distances, so p_j|i = p_i|j = N p_ij.
        const int N = 48;
        const double Perplexity = 7;
        float[] circle = [.. Enumerable.Range(0, N).SelectMany(i => new[] { MathF.Cos(MathF.Tau * i / N), MathF.Sin(MathF.Tau * i / N) })];
        using PaddedMatrix p = TSne.Affinities(new FeatureMatrix(circle, N, 2), Perplexity);
        double sum = 0, entropy = 0;
        for (int i = 0; i < N; i++)
        {
            Assert.That(p.Row(i)[i], Is.Zero);
            for (int j = 0; j < N; j++)
            {
                Assert.That(p.Row(i)[j], Is.EqualTo(p.Row(j)[i]));
                sum += p.Row(i)[j];
                if (i == 0 && p.Row(i)[j] > 0) entropy -= N * p.Row(i)[j] * Math.Log(N * p.Row(i)[j]);
            }
        }
        Assert.That(sum, Is.EqualTo(1).Within(1e-5));
        Assert.That(Math.Exp(entropy), Is.EqualTo(Perplexity).Within(1e-2));
    }

    [Test]
    public void Equal_points_huge_features_and_a_single_column_give_finite_pictures()
    {
        var options = new TSneOptions { Iterations = 60, ExaggeratedIterations = 30, Perplexity = 2 };
        foreach (FeatureMatrix features in new[]
        {
            new FeatureMatrix(new float[30], 10, 3),
            new FeatureMatrix([.. Enumerable.Range(0, 10).Select(i => i * 1e37f)], 10, 1),
            new FeatureMatrix([.. Enumerable.Range(0, 20).Select(i => i < 10 ? 1f : 2e-20f)], 20, 1),
        })
        {
            TSneResult result = TSne.Embed(features, options);
            Assert.That(result.Points.Values, Has.All.Matches<float>(float.IsFinite));
            Assert.That(result.Divergence, Is.GreaterThanOrEqualTo(-1e-6).And.LessThan(10));
        }
    }

    [Test]
    public void Options_that_do_not_fit_say_what_would()
    {
        var ten = new FeatureMatrix(new float[10], 10, 1);
        Assert.That(() => TSne.Embed(ten), Throws.ArgumentException.With.Message.Contains("from 1 to 3"));
        Assert.That(() => TSne.Embed(ten.Take([0, 1])), Throws.ArgumentException.With.Message.Contains("4 points"));
        Assert.That(() => TSne.Embed(new FeatureMatrix([1, 2, float.NaN, 4], 4, 1), new TSneOptions { Perplexity = 1 }),
            Throws.ArgumentException.With.Message.Contains("row 2"));
    }
}
