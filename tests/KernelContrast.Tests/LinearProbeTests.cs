using KernelContrast.Evaluation;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class LinearProbeTests
{
    [Test]
    public void Linearly_separable_classes_are_learned_and_the_same_for_any_number_of_threads([Values(3, 17, 64)] int dim)
    {
        (FeatureMatrix train, int[] labels) = Blobs(401, dim, classes: 3, spread: 0.3f, seed: 1);
        (FeatureMatrix test, int[] testLabels) = Blobs(200, dim, classes: 3, spread: 0.3f, seed: 2);
        int threads = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = 1;
            LinearProbe one = LinearProbe.Fit(train, labels, 3);
            Assert.That(one.Accuracy(test, testLabels), Is.GreaterThan(0.98));
            Device.Cpu.Threads = 3;
            LinearProbe three = LinearProbe.Fit(train, labels, 3);
            Assert.That(three.Regularisation, Is.EqualTo(one.Regularisation));
            Assert.That(three.Predict(train), Is.EqualTo(one.Predict(train)));
        }
        finally { Device.Cpu.Threads = threads; }
    }

    [Test]
    public void Values_and_gradient_are_those_of_the_formula_at_every_vector_width([Values(128, 256, 512)] int bits)
    {
        if (bits > Devices.Simd.HardwareBits) Assert.Ignore($"no vectors of {bits} bits here");
        using IDisposable limit = Devices.Simd.Limit(bits);
        const int Rows = 1030, Dim = 19, Classes = 4;
        const double Lambda = 0.3;
        (FeatureMatrix features, int[] labels) = Blobs(Rows + 5, Dim, Classes, 1, seed: 3);
        int[] rows = [.. Enumerable.Range(0, Rows).Select(i => Rows + 4 - i)];
        using PaddedMatrix x = Padded(features);
        using var objective = new LogisticObjective(x, rows, labels, Classes);
        var random = new PhiloxStream(4, 0);
        double[] parameters = [.. Enumerable.Range(0, objective.Parameters).Select(_ => 0.3 * random.NextNormal())];
        var gradient = new double[parameters.Length];
        double value = objective.Evaluate(parameters, gradient, Lambda);

        Assert.That(value, Is.EqualTo(Reference(parameters)).Within(1e-6));
        const double Step = 1e-5;
        for (int i = 0; i < parameters.Length; i++)
        {
            double kept = parameters[i];
            parameters[i] = kept + Step;
            double up = Reference(parameters);
            parameters[i] = kept - Step;
            double down = Reference(parameters);
            parameters[i] = kept;
            Assert.That(gradient[i], Is.EqualTo((up - down) / (2 * Step)).Within(2e-6), $"parameter {i}");
        }

        double Reference(double[] p)
        {
            double sum = 0;
            foreach (int row in rows)
            {
                double[] logits = [.. Enumerable.Range(0, Classes).Select(c => p[Classes * Dim + c]
                    + Enumerable.Range(0, Dim).Sum(d => p[c * Dim + d] * features.Row(row)[d]))];
                sum += Math.Log(logits.Sum(Math.Exp)) - logits[labels[row]];
            }
            return sum / Rows + Lambda / 2 * p.Take(Classes * Dim).Sum(w => w * w);
        }
    }

    [Test]
    public void The_minimum_of_two_points_is_where_calculus_puts_it()
    {
        // x = ±1 of classes 0 and 1: by symmetry w₀ = −w₁ = w, loss = ln(1 + e^{−2w}) + λ w², so 2λw = 2 σ(−2w).
        const double Lambda = 0.1;
        var features = new FeatureMatrix([1, -1], 2, 1);
        using PaddedMatrix x = Padded(features);
        using var objective = new LogisticObjective(x, [0, 1], [0, 1], 2);
        var parameters = new double[objective.Parameters];
        Lbfgs.Minimise((p, g) => objective.Evaluate(p, g, Lambda), parameters, 100, 1e-12);
        double w = parameters[0];
        Assert.That(parameters[1], Is.EqualTo(-w).Within(1e-6));
        Assert.That(Lambda * w, Is.EqualTo(1 / (1 + Math.Exp(2 * w))).Within(1e-5));
    }

    [Test]
    public void Standardising_makes_the_scale_and_offset_of_a_column_irrelevant()
    {
        (FeatureMatrix train, int[] labels) = Blobs(300, 5, classes: 3, spread: 1, seed: 5);
        float[] moved = [.. train.Values.Select((v, i) => i % 5 == 2 ? 20 * v + 300 : v)];
        LinearProbe one = LinearProbe.Fit(train, labels, 3), other = LinearProbe.Fit(new FeatureMatrix(moved, 300, 5), labels, 3);
        double agree = one.Predict(train).Zip(other.Predict(new FeatureMatrix(moved, 300, 5)), (a, b) => a == b ? 1.0 : 0).Average();
        Assert.That(agree, Is.GreaterThan(0.99));
    }

    [Test]
    public void Noise_gets_stronger_regularisation_than_signal()
    {
        (FeatureMatrix signal, int[] labels) = Blobs(200, 100, classes: 4, spread: 0.1f, seed: 6);
        FeatureMatrix noise = Blobs(200, 100, classes: 1, spread: 1, seed: 7).Features;
        Assert.That(LinearProbe.Fit(noise, labels, 4).Regularisation, Is.GreaterThanOrEqualTo(0.1));
        Assert.That(LinearProbe.Fit(signal, labels, 4).Regularisation, Is.LessThan(0.01));
    }

    [Test]
    public void Constant_columns_one_class_and_a_class_without_images_do_no_harm()
    {
        var constant = new FeatureMatrix([.. Enumerable.Repeat(3f, 20)], 10, 2);
        LinearProbe probe = LinearProbe.Fit(constant, [0, 0, 0, 0, 0, 0, 0, 2, 2, 2], 4);
        Assert.That(probe.Predict(constant), Is.All.EqualTo(0));
        Assert.That(LinearProbe.Fit(constant, new int[10], 1).Accuracy(constant, new int[10]), Is.EqualTo(1));
    }

    [Test]
    public void What_does_not_fit_together_is_refused_in_plain_words()
    {
        var two = new FeatureMatrix([1, 2], 2, 1);
        Assert.That(() => LinearProbe.Fit(two, [0], 2), Throws.ArgumentException.With.Message.Contains("2 rows of features, but 1 labels"));
        Assert.That(() => LinearProbe.Fit(two, [0, 2], 2), Throws.ArgumentException.With.Message.Contains("label 2 of row 1"));
        Assert.That(() => LinearProbe.Fit(two, [0, -1], 2), Throws.ArgumentException.With.Message.Contains("label -1"));
        Assert.That(() => LinearProbe.Fit(new FeatureMatrix([1, float.NaN], 2, 1), [0, 1], 2), Throws.ArgumentException.With.Message.Contains("row 1 holds NaN"));
        Assert.That(() => LinearProbe.Fit(new FeatureMatrix([1, float.PositiveInfinity], 2, 1), [0, 1], 2), Throws.ArgumentException);
        Assert.That(() => LinearProbe.Fit(two, [0, 1], 2).Predict(new FeatureMatrix([1, 2], 1, 2)), Throws.ArgumentException.With.Message.Contains("1 columns"));
        Assert.That(() => new FeatureMatrix([1, 2, 3], 2, 2), Throws.ArgumentException.With.Message.Contains("[2, 2]"));
    }

    [Test]
    public void A_draw_has_n_images_of_each_class_and_all_of_a_smaller_one()
    {
        int[] labels = [.. Enumerable.Repeat(0, 50), .. Enumerable.Repeat(1, 3), .. Enumerable.Repeat(2, 20)];
        int[] drawn = FewLabels.Draw(labels, 3, 5, seed: 1, draw: 0);
        Assert.That(drawn.Select(i => labels[i]).CountBy(c => c).Select(p => p.Value), Is.EqualTo(new[] { 5, 3, 5 }));
        Assert.That(drawn, Is.Unique);
        Assert.That(FewLabels.Draw(labels, 3, 5, seed: 1, draw: 0), Is.EqualTo(drawn));
        Assert.That(FewLabels.Draw(labels, 3, 5, seed: 1, draw: 1), Is.Not.EqualTo(drawn));
        Assert.That(FewLabels.Draw(labels, 3, 5, seed: 2, draw: 0), Is.Not.EqualTo(drawn));
    }

    [Test]
    public void Few_labels_suffice_where_classes_lie_apart_and_the_mean_is_over_the_draws()
    {
        (FeatureMatrix train, int[] labels) = Blobs(300, 8, classes: 3, spread: 0.3f, seed: 8);
        (FeatureMatrix test, int[] testLabels) = Blobs(300, 8, classes: 3, spread: 0.3f, seed: 9);
        FewLabelsResult result = FewLabels.Evaluate(train, labels, test, testLabels, 3, perClass: 2, draws: 4);
        Assert.That(result.Mean, Is.GreaterThan(0.9));
        Assert.That(result.Draws, Has.Count.EqualTo(4));
        Assert.That(result.Mean, Is.EqualTo(result.Draws.Average()));
        Assert.That(FewLabels.Evaluate(train, labels, test, testLabels, 3, perClass: 1, draws: 1).Deviation, Is.Zero);
    }

    /// <summary>Rows i of class i % classes around that class's own random centre.</summary>
    internal static (FeatureMatrix Features, int[] Labels) Blobs(int rows, int dim, int classes, float spread, ulong seed)
    {
        var centres = new PhiloxStream(99, 0);
        float[] centre = [.. Enumerable.Range(0, classes * dim).Select(_ => centres.NextNormal())];
        var random = new PhiloxStream(seed, 1);
        var values = new float[rows * dim];
        for (int i = 0; i < rows; i++)
            for (int d = 0; d < dim; d++) values[i * dim + d] = centre[i % classes * dim + d] + spread * random.NextNormal();
        return (new FeatureMatrix(values, rows, dim), [.. Enumerable.Range(0, rows).Select(i => i % classes)]);
    }

    private static unsafe PaddedMatrix Padded(FeatureMatrix features)
    {
        var x = new PaddedMatrix(features.Rows, features.Dim);
        for (int row = 0; row < features.Rows; row++) features.Row(row).CopyTo(new Span<float>(x.Row(row), features.Dim));
        return x;
    }
}
