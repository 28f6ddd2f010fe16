using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What holds of every kind on every device whatever the numbers are: symmetries, known values, how kinds relate.</summary>
[TestFixture]
internal sealed class LossInvariantTests
{
    private static readonly LossKind[] Kinds = Enum.GetValues<LossKind>();

    private static string[] Devices => TestDevice.Names;

    /// <summary>With a fixed shift and with the online maximum.</summary>
    private static readonly float[] Temperatures = [0.1f, 0.01f];

    [Test]
    public void Permuting_rows_permutes_losses_and_gradients([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Kinds))] LossKind kind,
        [ValueSource(nameof(Temperatures))] float temperature)
    {
        // Pairs move as one; keys move with their rows, and those beyond the rows among themselves.
        Problem problem = Problem.Random(kind, rows: 70, extra: kind == LossKind.Clip ? 0 : 11, dim: 9), moved = problem.Permuted(Moved, out int[] rowAt, out int[] keyAt);
        Result a = problem.Run(device, temperature, Reduction.None), b = moved.Run(device, temperature, Reduction.None);
        double size = a.GradRows.Max(Math.Abs);
        for (int i = 0; i < rowAt.Length; i++)
        {
            Assert.That(b.Losses[rowAt[i]], Is.EqualTo(a.Losses[i]).Within(1e-5 * Math.Max(1, Math.Abs(a.Losses[i]))), $"row {i}");
            Assert.That(Row(b.GradRows, rowAt[i], 9), Is.EqualTo(Row(a.GradRows, i, 9)).Within(2e-5 * size), $"row {i}");
        }
        if (a.GradKeys.Length == 0) return;
        size = a.GradKeys.Max(Math.Abs);
        for (int j = 0; j < keyAt.Length; j++) Assert.That(Row(b.GradKeys, keyAt[j], 9), Is.EqualTo(Row(a.GradKeys, j, 9)).Within(2e-5 * size), $"key {j}");

        static int Moved(int i, int count) => (i * 13 + 3) % count;
    }

    [Test]
    public void Swapping_the_views_changes_nothing_but_places([ValueSource(nameof(Devices))] string device,
        [Values(LossKind.NtXent, LossKind.Dcl, LossKind.SupCon, LossKind.Clip)] LossKind kind, [ValueSource(nameof(Temperatures))] float temperature)
    {
        Problem problem = Problem.Random(kind, rows: 70, extra: 0, dim: 9);
        bool clip = kind == LossKind.Clip;
        Problem swapped = clip ? problem with { Embeddings = problem.Keys, Keys = problem.Embeddings }
            : problem with { Embeddings = Swap(problem.Embeddings), Labels = problem.Labels is { } labels ? Swap(labels) : null };
        Result a = problem.Run(device, temperature), b = swapped.Run(device, temperature);
        Assert.That(b.Losses[0], Is.EqualTo(a.Losses[0]).Within(1e-5 * a.Losses[0]));
        double size = a.GradRows.Max(Math.Abs);
        Assert.That(clip ? b.GradKeys : Swap(b.GradRows), Is.EqualTo(a.GradRows).Within(1e-5 * size));
        if (clip) Assert.That(b.GradRows, Is.EqualTo(a.GradKeys).Within(1e-5 * size));
        Assert.That(b.GradTemperature, Is.EqualTo(a.GradTemperature).Within(1e-5 * Math.Abs(a.GradTemperature)));

        static T[] Swap<T>(T[] halves) => [.. halves[(halves.Length / 2)..], .. halves[..(halves.Length / 2)]];
    }

    [Test]
    public void Gradients_are_orthogonal_to_rows_and_keys([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Kinds))] LossKind kind,
        [ValueSource(nameof(Temperatures))] float temperature)
    {
        Problem problem = Problem.Random(kind, rows: 66, extra: kind == LossKind.Clip ? 0 : 14, dim: 40);
        Result result = problem.Run(device, temperature);
        Check(problem.Embeddings, result.GradRows);
        Check(problem.Keys, result.GradKeys);

        static void Check(float[] h, float[] gradient)
        {
            for (int start = 0; start < gradient.Length; start += 40)
            {
                double dot = 0, size = 0;
                for (int k = start; k < start + 40; k++)
                {
                    dot += (double)h[k] * gradient[k];
                    size += Math.Abs((double)h[k] * gradient[k]);
                }
                Assert.That(dot, Is.Zero.Within(2e-5 * size), $"row {start / 40}");
            }
        }
    }

    [Test]
    public void A_collapsed_batch_costs_the_logarithm_of_its_candidates([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Kinds))] LossKind kind,
        [Values(10f, 0.5f, 0.01f, 0.001f)] float temperature, [Values(0, 5)] int extra)
    {
        const int rows = 66;
        Problem problem = Problem.Random(kind, rows, kind == LossKind.Clip ? 0 : extra, dim: 7);
        foreach (float[] matrix in new[] { problem.Embeddings, problem.Keys, problem.Positives })
            for (int e = 0; e < matrix.Length; e++) matrix[e] = (1 + e / 7 % 3) * (e % 7 - 2.5f);
        // Every row has at least one other of its label.
        double expected = kind switch
        {
            LossKind.NtXent or LossKind.SupCon => Math.Log(rows - 1),
            LossKind.Dcl => Math.Log(rows - 2),
            LossKind.InfoNce or LossKind.Clip => Math.Log(problem.KeyCount),
            LossKind.Moco => Math.Log(problem.KeyCount + 1),
            _ => Softplus(-1 / temperature - Problem.Bias) + (problem.KeyCount - 1) * Softplus(1 / temperature + Problem.Bias),
        };
        Assert.That(problem.Run(device, temperature).Losses[0], Is.EqualTo(expected).Within(1e-5 * (kind == LossKind.SigLip ? Math.Max(1, expected) : 1)));

        static double Softplus(double x) => Math.Max(x, 0) + Math.Log(1 + Math.Exp(-Math.Abs(x)));
    }

    /// <summary>Of keys and queues as well, and of either sign: a similarity of −∞ is not that of a pair that is none.</summary>
    [Test]
    public void Infinity_is_no_finite_loss([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Kinds))] LossKind kind, [Values] bool normalize)
    {
        for (int side = 0; side < 3; side++)
            foreach (float infinity in new[] { float.PositiveInfinity, float.NegativeInfinity })
            {
                Problem problem = Problem.Random(kind, rows: 6, extra: kind == LossKind.Clip ? 0 : 3, dim: 1);
                float[] matrix = side == 0 ? problem.Embeddings : side == 1 ? problem.Keys : problem.Positives;
                if (matrix.Length == 0) continue;
                matrix[2] = infinity;
                Assert.That(problem.Run(device, 0.5f, normalize: normalize).Losses, Is.All.NaN, $"side {side}, {infinity}");
                // Where the row has its own candidates, as of infinite keys, no loss is finite.
                if (side == 1) Assert.That(problem.Run(device, 0.5f, Reduction.None, normalize).Losses, Is.All.NaN, $"{infinity}");
            }
    }

    /// <summary>1/‖h‖ of the smallest floats is beyond the largest. Of one dimension the gradient is 0, and infinity times 0 would be NaN.</summary>
    [Test]
    public void The_smallest_numbers_are_rows_like_others([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Kinds))] LossKind kind)
    {
        Problem problem = Problem.Random(kind, rows: 8, extra: 0, dim: 1);
        float[] h = problem.Embeddings;
        for (int i = 0; i < h.Length; i += 3) h[i] = MathF.CopySign(1e-42f, h[i]);
        Result tiny = problem.Run(device, 0.1f, Reduction.None), unit = (problem with { Embeddings = [.. h.Select(x => MathF.CopySign(1, x))] }).Run(device, 0.1f, Reduction.None);
        Assert.That(tiny.Losses, Is.EqualTo(unit.Losses));
        Assert.That(tiny.GradRows, Is.All.Zero);
    }

    /// <summary>ln(1 + 2e⁻²) is NT-Xent of two pairs and InfoNCE and CLIP of three: two negatives at a right angle.</summary>
    [TestCase(LossKind.NtXent, 4), TestCase(LossKind.NtXent, 20), TestCase(LossKind.Dcl, 4), TestCase(LossKind.SupCon, 4), TestCase(LossKind.InfoNce, 3), TestCase(LossKind.Clip, 3), TestCase(LossKind.Moco, 3)]
    public void Orthogonal_pairs_cost_what_cosines_of_0_and_1_give(LossKind kind, int rows)
    {
        bool within = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;
        int axes = within ? rows / 2 : rows, negatives = within ? rows - 2 : kind == LossKind.Moco ? 2 : rows - 1;
        float[] h = Axes(rows, i => i % axes);
        Problem problem = new(kind, h, within ? [] : kind == LossKind.Moco ? Axes(2, j => axes + j) : Axes(rows, j => j),
            kind == LossKind.Moco ? h : [], kind == LossKind.SupCon ? [.. Enumerable.Range(0, rows).Select(i => i % axes)] : null, axes + 2);
        double expected = kind == LossKind.Dcl ? Math.Log(negatives) - 2 : Math.Log(1 + negatives * Math.Exp(-2));
        if (rows == 3 || (rows == 4 && kind != LossKind.Dcl)) Assert.That(expected, Is.EqualTo(Math.Log(1 + 2 * Math.Exp(-2))));
        foreach (string device in Devices) Assert.That(problem.Run(device, 0.5f).Losses[0], Is.EqualTo(expected).Within(1e-6), device);

        float[] Axes(int count, Func<int, int> axis)
        {
            var values = new float[count * (axes + 2)];
            for (int i = 0; i < count; i++) values[i * (axes + 2) + axis(i)] = 1 + i;
            return values;
        }
    }

    /// <summary>
    /// A partner of another label is no negative: row 0, all of whose others share its label, does not count. One more of
    /// another label, next to the partner in the order of packing or the last of all, and it does.
    /// </summary>
    [Test]
    public void A_partner_of_another_label_is_no_negative([Values(LossKind.NtXent, LossKind.Dcl)] LossKind kind, [Values(-1, 1, 5)] int other)
    {
        Problem random = Problem.Random(kind, rows: 6, extra: 0, dim: 5);
        int[] labels = [0, 0, 0, 1, 0, 0];
        if (other >= 0) labels[other] = 2;
        var exact = new Cases.ContrastReference(kind, [.. random.Embeddings.Select(v => (double)v)], null, null, 5, 0.5f, labels: labels);
        Assert.That(exact.Losses.Select(l => l == 0), Is.EqualTo(new[] { other < 0, false, false, false, false, false }));
        foreach (string device in Devices)
        {
            using var scope = new TensorScope();
            Device on = Device.Parse(device);
            Tensor h = Tensor.From<float>(random.Embeddings, new(6, 5), on), given = Tensor.From<int>(labels, new(6), on);
            Tensor losses = kind == LossKind.Dcl ? Dcl.Loss(h, 0.5f, reduction: Reduction.None, labels: given) : NtXent.Loss(h, 0.5f, reduction: Reduction.None, labels: given);
            Assert.That(losses.ToArray(), Is.EqualTo(exact.Losses).Within(1e-5), device);
        }
    }

    /// <summary>A negative label equals no other, of rows or of a queue, so it takes no negative out.</summary>
    [Test]
    public void Negative_labels_change_nothing([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Temperatures))] float temperature,
        [Values(LossKind.NtXent, LossKind.Dcl, LossKind.InfoNce, LossKind.Clip, LossKind.SigLip, LossKind.Moco)] LossKind kind)
    {
        Problem plain = Problem.Random(kind, rows: 70, extra: kind == LossKind.Moco ? 9 : 0, dim: 9);
        int labels = kind == LossKind.Moco ? 70 + plain.KeyCount : 70;
        Result a = plain.Run(device, temperature, Reduction.None), b = (plain with { Labels = [.. Enumerable.Range(0, labels).Select(i => -1 - i % 2)] }).Run(device, temperature, Reduction.None);
        for (int i = 0; i < 70; i++) Assert.That(b.Losses[i], Is.EqualTo(a.Losses[i]).Within(1e-5 * Math.Max(1, Math.Abs(a.Losses[i]))), $"row {i}");
        Assert.That(b.GradRows, Is.EqualTo(a.GradRows).Within(1e-5 * a.GradRows.Max(Math.Abs)));
        Assert.That(b.GradKeys, Is.EqualTo(a.GradKeys).Within(1e-5 * a.GradRows.Max(Math.Abs)));
    }

    /// <summary>One side's InfoNCE and the other's, halved: loss, both gradients, and that of the temperature.</summary>
    [Test]
    public void Clip_is_the_mean_of_two_info_nce([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Temperatures))] float temperature)
    {
        Problem clip = Problem.Random(LossKind.Clip, rows: 70, extra: 0, dim: 9), one = clip with { Kind = LossKind.InfoNce }, other = one with { Embeddings = clip.Keys, Keys = clip.Embeddings };
        Result both = clip.Run(device, temperature), a = one.Run(device, temperature), b = other.Run(device, temperature);
        Assert.That(both.Losses[0], Is.EqualTo((a.Losses[0] + b.Losses[0]) / 2).Within(1e-5 * both.Losses[0]));
        Assert.That(both.GradRows, Is.EqualTo(Mean(a.GradRows, b.GradKeys)).Within(1e-5 * a.GradRows.Max(Math.Abs)));
        Assert.That(both.GradKeys, Is.EqualTo(Mean(a.GradKeys, b.GradRows)).Within(1e-5 * a.GradKeys.Max(Math.Abs)));
        Assert.That(both.GradTemperature, Is.EqualTo((a.GradTemperature + b.GradTemperature) / 2).Within(1e-5 * Math.Abs(a.GradTemperature)));

        static float[] Mean(float[] x, float[] y) => [.. x.Zip(y, (u, v) => (u + v) / 2)];
    }

    /// <summary>A memory that holds just the batch's keys, each row's own told apart by its label, gives the batch's own loss.</summary>
    [Test]
    public void Moco_with_the_batch_as_its_memory_is_info_nce([ValueSource(nameof(Devices))] string device, [ValueSource(nameof(Temperatures))] float temperature)
    {
        Problem inner = Problem.Random(LossKind.InfoNce, rows: 70, extra: 0, dim: 9);
        Problem memory = inner with { Kind = LossKind.Moco, Positives = inner.Keys, Labels = [.. Enumerable.Range(0, 140).Select(i => i % 70)] };
        Result a = inner.Run(device, temperature, Reduction.None), b = memory.Run(device, temperature, Reduction.None);
        for (int i = 0; i < 70; i++) Assert.That(b.Losses[i], Is.EqualTo(a.Losses[i]).Within(1e-5 * Math.Max(1, a.Losses[i])), $"row {i}");
        Assert.That(b.GradRows, Is.EqualTo(a.GradRows).Within(1e-5 * a.GradRows.Max(Math.Abs)));
        Assert.That(b.GradTemperature, Is.EqualTo(a.GradTemperature).Within(1e-5 * Math.Abs(a.GradTemperature)));
    }

    /// <summary>Losses of rows do not depend on the other rows' queries, so chunks of them, against all keys, add up.</summary>
    [Test]
    public void Chunks_of_queries_add_up_to_the_whole([ValueSource(nameof(Devices))] string device,
        [Values(LossKind.InfoNce, LossKind.SigLip, LossKind.Moco)] LossKind kind, [ValueSource(nameof(Temperatures))] float temperature)
    {
        const int dim = 9;
        Problem whole = Problem.Random(kind, rows: 70, extra: 13, dim);
        bool moco = kind == LossKind.Moco;
        Result expected = whole.Run(device, temperature, Reduction.Sum);
        double loss = 0, gradTemperature = 0, gradBias = 0;
        var gradRows = new float[expected.GradRows.Length];
        var gradKeys = new double[expected.GradKeys.Length];
        foreach ((int start, int count) in new[] { (0, 17), (17, 52), (69, 1) })
        {
            // Row i's key is key i, so a chunk's own keys come first, the others behind them.
            int[] order = moco ? [.. Enumerable.Range(0, whole.KeyCount)]
                : [.. Enumerable.Range(start, count), .. Enumerable.Range(0, whole.KeyCount).Where(j => j < start || j >= start + count)];
            Problem chunk = whole with
            {
                Embeddings = whole.Embeddings[(start * dim)..((start + count) * dim)],
                Positives = moco ? whole.Positives[(start * dim)..((start + count) * dim)] : [],
                Keys = [.. order.SelectMany(j => Row(whole.Keys, j, dim))],
            };
            Result part = chunk.Run(device, temperature, Reduction.Sum);
            loss += part.Losses[0];
            gradTemperature += part.GradTemperature;
            gradBias += part.GradBias;
            part.GradRows.CopyTo(gradRows, start * dim);
            for (int e = 0; e < part.GradKeys.Length; e++) gradKeys[order[e / dim] * dim + e % dim] += part.GradKeys[e];
        }
        Assert.That(loss, Is.EqualTo(expected.Losses[0]).Within(1e-5 * expected.Losses[0]));
        Assert.That(gradRows, Is.EqualTo(expected.GradRows).Within(1e-5 * expected.GradRows.Max(Math.Abs)));
        if (!moco) Assert.That(gradKeys, Is.EqualTo(expected.GradKeys).Within(1e-5 * expected.GradKeys.Max(Math.Abs)));
        Assert.That(gradTemperature, Is.EqualTo(expected.GradTemperature).Within(2e-5 * Math.Abs(expected.GradTemperature)));
        Assert.That(gradBias, Is.EqualTo(expected.GradBias).Within(1e-5 * Math.Abs(expected.GradBias)));
    }

    private static float[] Row(float[] matrix, int row, int dim) => matrix[(row * dim)..((row + 1) * dim)];

    private sealed record Result(float[] Losses, float[] GradRows, float[] GradKeys, float GradTemperature, float GradBias);

    /// <summary>Keys are MoCo's queue; labels are SupCon's, or leave negatives out.</summary>
    private sealed record Problem(LossKind Kind, float[] Embeddings, float[] Keys, float[] Positives, int[]? Labels, int Dim)
    {
        internal const float Bias = -2;

        internal int KeyCount => Keys.Length / Dim;

        private bool WithinBatch => Kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;

        internal static Problem Random(LossKind kind, int rows, int extra, int dim)
        {
            bool within = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;
            return new(kind, Normal(rows, 1), within ? [] : Normal(rows + extra, 2), kind == LossKind.Moco ? Normal(rows, 3) : [],
                kind == LossKind.SupCon ? [.. Enumerable.Range(0, rows).Select(i => i * i % 7)] : null, dim);

            float[] Normal(int count, ulong seed)
            {
                var random = new PhiloxStream(seed, 21);
                return [.. Enumerable.Range(0, count * dim).Select(_ => random.NextNormal())];
            }
        }

        /// <summary>Row i of this is row rowAt[i] of the result, key j key keyAt[j].</summary>
        internal Problem Permuted(Func<int, int, int> moved, out int[] rowAt, out int[] keyAt)
        {
            int rows = Embeddings.Length / Dim, pairs = rows / 2;
            bool paired = Kind is LossKind.NtXent or LossKind.Dcl, ownKeys = !WithinBatch && Kind != LossKind.Moco;
            int[] at = rowAt = [.. Enumerable.Range(0, rows).Select(i => paired ? i / pairs * pairs + moved(i % pairs, pairs) : moved(i, rows))];
            int[] key = keyAt = [.. Enumerable.Range(0, KeyCount).Select(j => !ownKeys ? moved(j, KeyCount) : j < rows ? at[j] : rows + moved(j - rows, KeyCount - rows))];
            return this with { Embeddings = Place(Embeddings, at, Dim), Keys = Place(Keys, key, Dim), Positives = Positives.Length == 0 ? [] : Place(Positives, at, Dim), Labels = Labels is null ? null : Place(Labels, at, 1) };

            static T[] Place<T>(T[] from, int[] at, int size)
            {
                var to = new T[from.Length];
                for (int i = 0; i < at.Length; i++) from.AsSpan(i * size, size).CopyTo(to.AsSpan(at[i] * size));
                return to;
            }
        }

        internal Result Run(string device, float temperature, Reduction reduction = Reduction.Mean, bool normalize = true)
        {
            using var scope = new TensorScope();
            Device on = Device.Parse(device);
            Tensor h = Matrix(Embeddings, true), k = Matrix(Keys, Kind != LossKind.Moco), p = Matrix(Positives, false);
            Tensor tau = Scalar(temperature), bias = Scalar(Bias);
            Tensor? labels = Labels is null ? null : Tensor.From<int>(Labels, new(Labels.Length), on);
            Tensor loss = Loss(out bool learned);
            loss.Backward(Tensor.Full(loss.Shape, 1, on));
            float gradTemperature = learned ? tau.Grad!.Item() : 0;
            return new(loss.ToArray(), h.Grad!.ToArray(), k.Grad?.ToArray() ?? [], gradTemperature, bias.Grad?.Item() ?? 0);

            // A temperature on the device always takes the online maximum on CUDA: here it is a number, unless the mean is wanted.
            Tensor Loss(out bool learned)
            {
                learned = reduction != Reduction.None;
                return (Kind, learned) switch
                {
                    (LossKind.NtXent, true) => NtXent.Loss(h, tau, reduction: reduction, normalize: normalize, labels: labels),
                    (LossKind.NtXent, _) => NtXent.Loss(h, temperature, reduction: reduction, normalize: normalize, labels: labels),
                    (LossKind.Dcl, true) => Dcl.Loss(h, tau, reduction: reduction, normalize: normalize, labels: labels),
                    (LossKind.Dcl, _) => Dcl.Loss(h, temperature, reduction: reduction, normalize: normalize, labels: labels),
                    (LossKind.SupCon, true) => SupCon.Loss(h, labels!, tau, reduction, normalize),
                    (LossKind.SupCon, _) => SupCon.Loss(h, labels!, temperature, reduction, normalize),
                    (LossKind.InfoNce, true) => InfoNce.Loss(h, k, tau, reduction, normalize: normalize, labels: labels),
                    (LossKind.InfoNce, _) => InfoNce.Loss(h, k, temperature, reduction, normalize: normalize, labels: labels),
                    (LossKind.Clip, true) => Clip.Loss(h, k, tau, reduction, normalize: normalize, labels: labels),
                    (LossKind.Clip, _) => Clip.Loss(h, k, temperature, reduction, normalize: normalize, labels: labels),
                    (LossKind.SigLip, true) => SigLip.Loss(h, k, tau, bias, reduction, normalize: normalize, labels: labels),
                    (LossKind.SigLip, _) => SigLip.Loss(h, k, temperature, Bias, reduction, normalize: normalize, labels: labels),
                    (_, true) => Moco.Loss(h, p, k, tau, reduction, normalize: normalize, labels: labels),
                    (_, _) => Moco.Loss(h, p, k, temperature, reduction, normalize: normalize, labels: labels),
                };
            }

            Tensor Matrix(float[] values, bool differentiable)
            {
                Tensor tensor = Tensor.From<float>(values, new(values.Length / Dim, Dim), on);
                tensor.RequiresGrad = differentiable;
                return tensor;
            }

            Tensor Scalar(float value)
            {
                Tensor tensor = Tensor.From<float>([value], new(), on);
                tensor.RequiresGrad = true;
                return tensor;
            }
        }
    }
}
