using KernelContrast.Training;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class EmbeddingHealthTests
{
    [Test]
    public void One_point_has_no_spread_and_rank_one()
    {
        float[] same = [.. Enumerable.Repeat(new[] { 3f, 4f }, 5).SelectMany(r => r)];
        EmbeddingHealth health = EmbeddingHealth.Measure(same, same, 2, same, 2);
        Assert.That(health.Spread, Is.EqualTo(0).Within(1e-7));
        Assert.That(health.Alignment, Is.EqualTo(0));
        Assert.That(health.Uniformity, Is.EqualTo(0).Within(1e-7));
        Assert.That(health.RankMe, Is.EqualTo(1).Within(1e-4));
    }

    [Test]
    public void A_sphere_of_random_points_is_healthy()
    {
        const int rows = 400, dim = 64;
        using Tensor a = Tensor.RandomNormal(new(rows, dim), 1);
        using Tensor b = Tensor.RandomNormal(new(rows, dim), 2);
        EmbeddingHealth health = EmbeddingHealth.Measure(a.ToArray(), b.ToArray(), dim, a.ToArray(), dim);
        Assert.That(health.Spread, Is.EqualTo(1).Within(0.02));
        Assert.That(health.Alignment, Is.EqualTo(2).Within(0.05), "two random points of the sphere");
        Assert.That(health.Uniformity, Is.EqualTo(-4 + 8.0 / dim).Within(0.05), "−4 + second order in 1/D");
        Assert.That(health.RankMe, Is.InRange(0.9 * dim, dim));
    }

    [Test]
    public void Small_numbers_by_hand()
    {
        // Unit rows (1, 0) and (0, 1); second views (0, 1) and (0, 1).
        EmbeddingHealth health = EmbeddingHealth.Measure([2, 0, 0, 5], [0, 1, 0, 3], 2, [3, 0, 0, 1], 2);
        Assert.That(health.Alignment, Is.EqualTo(1).Within(1e-6), "squared distances 2 and 0");
        Assert.That(health.Uniformity, Is.EqualTo(-4).Within(1e-5), "one pair at squared distance 2");
        Assert.That(health.Spread, Is.EqualTo(0.5 * Math.Sqrt(2)).Within(1e-6));
        Assert.That(health.RankMe, Is.EqualTo(Math.Exp(-(0.75 * Math.Log(0.75) + 0.25 * Math.Log(0.25)))).Within(1e-4), "singular values 3 and 1");
    }

    [Test]
    public void Rows_keep_their_direction_whatever_the_sign_of_their_largest_element()
    {
        // One row, then its nearest neighbour with the largest element elsewhere and of the other sign.
        float[] first = [-5, 4.9f, 1, 2], second = [-4.9f, 5, 1, 2];
        EmbeddingHealth health = EmbeddingHealth.Measure(first, second, 2, first, 2);
        Assert.That(health.Alignment, Is.LessThan(1e-3));
    }

    [Test]
    public void RankMe_is_the_same_from_either_gram_matrix()
    {
        using Tensor x = Tensor.RandomNormal(new(7, 12), 1);
        float[] rows = x.ToArray();
        var transposed = new float[rows.Length];
        for (int i = 0; i < 7; i++) for (int j = 0; j < 12; j++) transposed[j * 7 + i] = rows[i * 12 + j];
        Assert.That(EmbeddingHealth.RankMeOf(rows, 12), Is.EqualTo(EmbeddingHealth.RankMeOf(transposed, 7)).Within(1e-9));
    }
}
