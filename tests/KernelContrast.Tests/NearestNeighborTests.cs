using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class NearestNeighborTests
{
    [Test]
    public void Neighbors_are_those_of_a_full_sort_across_tiles([Values(1, 2, 7, 200)] int k)
    {
        // More keys and queries than one tile has of either.
        (FeatureMatrix set, _) = LinearProbeTests.Blobs(2100, 3, classes: 5, spread: 1, seed: 1);
        (FeatureMatrix queries, _) = LinearProbeTests.Blobs(530, 3, classes: 5, spread: 1, seed: 2);
        Neighbors found = NearestNeighbors.Find(set, queries, k);
        Assert.That(found.K, Is.EqualTo(k));
        for (int query = 0; query < queries.Rows; query += 7)
        {
            double[] similarities = [.. Enumerable.Range(0, set.Rows).Select(i => Cosine(queries.Row(query), set.Row(i)))];
            double[] expected = [.. similarities.OrderDescending().Take(k)];
            float[] got = found.Similarities[(query * k)..((query + 1) * k)];
            int[] indices = found.Indices[(query * k)..((query + 1) * k)];
            Assert.That(got.Select(v => (double)v), Is.EqualTo(expected).Within(1e-6));
            Assert.That(indices.Select(i => similarities[i]), Is.EqualTo(expected).Within(1e-6));
            Assert.That(indices, Is.Unique);
            Assert.That(got, Is.Ordered.Descending);
        }
    }

    [Test]
    public void Among_equals_the_first_come_first_and_zeros_are_similar_to_nothing()
    {
        // Rows 0, 2, 4, 5 point the same way, at several lengths; row 1 is zero; row 3 points elsewhere.
        var set = new FeatureMatrix([2, 0, 0, 0, 1, 0, 0, 3, 1e-18f, 0, 1e18f, 0], 6, 2);
        Neighbors found = NearestNeighbors.Find(set, new FeatureMatrix([5, 0, 0, 0], 2, 2), 5);
        Assert.That(found.Indices[..5], Is.EqualTo(new[] { 0, 2, 4, 5, 1 }));
        Assert.That(found.Similarities[..5], Is.EqualTo(new[] { 1f, 1, 1, 1, 0 }));
        Assert.That(found.Indices[5..], Is.EqualTo(new[] { 0, 1, 2, 3, 4 }));
        Assert.That(found.Similarities[5..], Is.All.Zero);
    }

    [Test]
    public void Equal_candidates_in_a_later_tile_do_not_displace_the_first()
    {
        var set = new FeatureMatrix([.. Enumerable.Repeat(1f, 5000)], 5000, 1);
        Neighbors found = NearestNeighbors.Find(set, new FeatureMatrix([1], 1, 1), 10);
        Assert.That(found.Indices, Is.EqualTo(Enumerable.Range(0, 10)));
    }

    [Test]
    public void More_neighbors_than_rows_are_all_rows_and_threads_change_nothing()
    {
        (FeatureMatrix set, int[] labels) = LinearProbeTests.Blobs(700, 6, classes: 4, spread: 1, seed: 3);
        Assert.That(NearestNeighbors.Find(set.Take([0, 1, 2]), set, 50).K, Is.EqualTo(3));
        int threads = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = 1;
            Neighbors one = NearestNeighbors.Find(set, set, 20);
            Device.Cpu.Threads = 3;
            Neighbors three = NearestNeighbors.Find(set, set, 20);
            Assert.That(three.Indices, Is.EqualTo(one.Indices));
        }
        finally { Device.Cpu.Threads = threads; }
    }

    [Test]
    public void Votes_are_weighted_by_the_exponential_of_similarity_over_temperature()
    {
        // One neighbour of class 1 at similarity 1, three of class 0 at 0.8.
        var train = new FeatureMatrix([1, 0, 0.8f, 0.6f, 0.8f, -0.6f, 0.8f, 0.6f], 4, 2);
        int[] labels = [1, 0, 0, 0];
        var query = new FeatureMatrix([1, 0], 1, 2);
        Assert.That(WeightedKnn.Predict(train, labels, query, 2, k: 1), Is.EqualTo(new[] { 1 }));
        // 3·exp(−0.2/τ) exceeds 1 where τ > 0.2 / ln 3 = 0.182.
        Assert.That(WeightedKnn.Predict(train, labels, query, 2, k: 4, temperature: 0.17f), Is.EqualTo(new[] { 1 }));
        Assert.That(WeightedKnn.Predict(train, labels, query, 2, k: 4, temperature: 0.19f), Is.EqualTo(new[] { 0 }));
        Assert.That(WeightedKnn.Predict(train, labels, query, 2, k: 100, temperature: 0.19f), Is.EqualTo(new[] { 0 }));
        Assert.That(WeightedKnn.Predict(train, labels, query, 2, k: 4, temperature: 1e-4f), Is.EqualTo(new[] { 1 }));
    }

    [Test]
    public void Separate_classes_are_found_one_class_is_always_right_and_a_tie_goes_to_the_lowest()
    {
        (FeatureMatrix train, int[] labels) = LinearProbeTests.Blobs(300, 8, classes: 3, spread: 0.3f, seed: 4);
        (FeatureMatrix test, int[] testLabels) = LinearProbeTests.Blobs(100, 8, classes: 3, spread: 0.3f, seed: 5);
        Assert.That(WeightedKnn.Accuracy(train, labels, test, testLabels, 3, k: 20), Is.GreaterThan(0.98));
        Assert.That(WeightedKnn.Accuracy(train, new int[300], test, new int[100], 1), Is.EqualTo(1));
        var zeros = new FeatureMatrix(new float[4], 4, 1);
        Assert.That(WeightedKnn.Predict(zeros, [2, 1, 2, 1], zeros, 3), Is.EqualTo(new[] { 1, 1, 1, 1 }));
    }

    [Test]
    public void What_does_not_fit_together_is_refused_in_plain_words()
    {
        var a = new FeatureMatrix([1, 2], 2, 1);
        var wide = new FeatureMatrix([1, 2], 1, 2);
        Assert.That(() => NearestNeighbors.Find(a, wide, 1), Throws.ArgumentException.With.Message.Contains("1 columns").And.Message.Contains("2"));
        Assert.That(() => NearestNeighbors.Find(new FeatureMatrix([], 0, 1), a, 1), Throws.ArgumentException);
        Assert.That(() => NearestNeighbors.Find(a, new FeatureMatrix([float.NaN], 1, 1), 1), Throws.ArgumentException.With.Message.Contains("row 0"));
        Assert.That(() => NearestNeighbors.Find(a, a, 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => WeightedKnn.Predict(a, [0], a, 1), Throws.ArgumentException.With.Message.Contains("1 labels"));
        Assert.That(() => WeightedKnn.Predict(a, [0, 0], a, 1, temperature: 0), Throws.ArgumentException.With.Message.Contains("temperature"));
    }

    private static double Cosine(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double dot = 0, aa = 0, bb = 0;
        for (int d = 0; d < a.Length; d++)
        {
            dot += (double)a[d] * b[d];
            aa += (double)a[d] * a[d];
            bb += (double)b[d] * b[d];
        }
        return dot / Math.Sqrt(aa * bb);
    }
}
