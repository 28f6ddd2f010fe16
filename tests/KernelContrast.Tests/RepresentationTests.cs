using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class RepresentationTests
{
    [Test]
    public void Pixels_are_the_bytes_over_255_in_the_order_of_the_images_whatever_the_batch()
    {
        MemoryDataset data = Images(channels: 3);
        FeatureMatrix pixels = Embedder.Pixels(data);
        Assert.That((pixels.Rows, pixels.Dim), Is.EqualTo((7, 3 * 4 * 5)));
        var bytes = new byte[60];
        for (int i = 0; i < 7; i++)
        {
            data.Read(i, bytes);
            Assert.That(pixels.Row(i).ToArray(), Is.EqualTo(bytes.Select(b => b / 255f)).Within(1e-6), $"image {i}");
        }
        int seen = 0;
        FeatureMatrix same = Embedder.Embed(Flat, data, batchSize: 3, progress: done => seen = done);
        Assert.That(same.Values, Is.EqualTo(pixels.Values));
        Assert.That(seen, Is.EqualTo(7));
    }

    [Test]
    public void The_recipe_normalises_and_its_randomness_is_left_out()
    {
        MemoryDataset data = Images(channels: 1);
        ViewRecipe recipe = new() { MinArea = 0.1f, FlipProbability = 1, Mean = [0.5f], StandardDeviation = [0.25f] };
        float[] expected = [.. Embedder.Pixels(data).Values.Select(v => (v - 0.5f) / 0.25f)];
        Assert.That(Embedder.Pixels(data, recipe).Values, Is.EqualTo(expected).Within(1e-5));
    }

    [Test]
    public void Embedding_leaves_no_memory_behind_and_records_nothing()
    {
        MemoryDataset data = Images(channels: 1);
        long before = Device.Cpu.Memory.LiveBytes;
        using Tensor weight = Tensor.Full(new(1), 1);
        weight.RequiresGrad = true;
        Embedder.Embed(x =>
        {
            Tensor y = Functional.Relu(Flat(x));
            Assert.That(Functional.Relu(weight).RequiresGrad, Is.False);
            return y;
        }, data, batchSize: 2);
        weight.Dispose();
        Assert.That(Device.Cpu.Memory.LiveBytes, Is.EqualTo(before));
    }

    [Test]
    public void An_encoder_whose_output_is_no_row_per_image_is_refused()
    {
        Assert.That(() => Embedder.Embed(x => x.Clone(), Images(1)), Throws.ArgumentException.With.Message.Contains("[7, 1, 4, 5]"));
    }

    [Test]
    public void Scores_tell_features_with_classes_in_them_from_noise()
    {
        (FeatureMatrix train, int[] labels) = LinearProbeTests.Blobs(300, 8, classes: 3, spread: 0.3f, seed: 1);
        (FeatureMatrix test, int[] testLabels) = LinearProbeTests.Blobs(300, 8, classes: 3, spread: 0.3f, seed: 2);
        var protocol = new EvaluationProtocol { K = 20, LabelsPerClass = 5, Draws = 2 };
        RepresentationScores good = RepresentationScores.Measure(train, labels, test, testLabels, 3, protocol);
        Assert.That(new[] { good.Knn, good.Linear, good.Few.Mean }, Is.All.GreaterThan(0.95));
        FeatureMatrix noise = LinearProbeTests.Blobs(300, 8, classes: 1, spread: 1, seed: 3).Features;
        FeatureMatrix noiseTest = LinearProbeTests.Blobs(300, 8, classes: 1, spread: 1, seed: 4).Features;
        RepresentationScores bad = RepresentationScores.Measure(noise, labels, noiseTest, testLabels, 3, protocol);
        Assert.That(new[] { bad.Knn, bad.Linear, bad.Few.Mean }, Is.All.LessThan(0.5));
    }

    private static Tensor Flat(Tensor images) =>
        Tensor.From<float>(images.ToArray(), new(images.Shape[0], (int)(images.Count / images.Shape[0])));

    private static MemoryDataset Images(int channels)
    {
        var random = new PhiloxStream(1, 0);
        byte[] pixels = [.. Enumerable.Range(0, 7 * channels * 20).Select(_ => (byte)random.NextInt32(256))];
        return new MemoryDataset(pixels, null, channels, 4, 5);
    }
}
