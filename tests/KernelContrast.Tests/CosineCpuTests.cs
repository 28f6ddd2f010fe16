using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>
/// What the op cases do not reach of the cosine matrix on the CPU: blocks and their edges, rows with themselves under an
/// upstream gradient without symmetry, thread counts, vector widths, and matrices larger than the caches.
/// </summary>
[TestFixture]
[NonParallelizable]
internal sealed class CosineCpuTests
{
    private static float[] Normal(int count, ulong seed)
    {
        var random = new PhiloxStream(seed, 6);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextNormal())];
    }

    private sealed record Result(float[] Similarities, float[] GradA, float[]? GradB);

    /// <param name="a">Rows.</param>
    /// <param name="b">The other rows; null: a, as the very same tensor.</param>
    /// <param name="up">∂/∂similarities.</param>
    /// <param name="dim">Elements of a row.</param>
    private static Result Ours(float[] a, float[]? b, float[] up, int dim)
    {
        using var scope = new TensorScope();
        Tensor x = Tensor.From<float>(a, new(a.Length / dim, dim)), y = b is null ? x : Tensor.From<float>(b, new(b.Length / dim, dim));
        x.RequiresGrad = y.RequiresGrad = true;
        Tensor s = Functional.CosineSimilarity(x, y);
        float[] similarities = s.ToArray();
        s.Backward(Tensor.From<float>(up, s.Shape));
        return new(similarities, x.Grad!.ToArray(), b is null ? null : y.Grad!.ToArray());
    }

    private static double Length(float[] rows, int i, int dim)
    {
        double sum = 0;
        for (int d = 0; d < dim; d++) sum += (double)rows[i * dim + d] * rows[i * dim + d];
        return Math.Sqrt(sum);
    }

    private static double[] Units(float[] rows, int dim)
    {
        var units = new double[rows.Length];
        for (int e = 0; e < units.Length; e++) units[e] = Length(rows, e / dim, dim) is > 0 and var length ? rows[e] / length : 0;
        return units;
    }

    private static void SimilaritiesAgree(float[] actual, float[] a, float[] b, int dim, string what)
    {
        double[] x = Units(a, dim), y = Units(b, dim);
        int columns = b.Length / dim, worst = 0;
        double error = -1;
        for (int e = 0; e < actual.Length; e++)
        {
            double expected = 0;
            for (int d = 0; d < dim; d++) expected += x[e / columns * dim + d] * y[e % columns * dim + d];
            if (!(Math.Abs(actual[e] - expected) <= error)) (worst, error) = (e, Math.Abs(actual[e] - expected));
        }
        Assert.That(error, Is.LessThan(2e-6), $"{what}: similarity of rows {worst / columns} and {worst % columns}");
    }

    /// <summary>∂/∂a, where weight(i, j) is what the similarity of a's row i and b's row j is multiplied with.</summary>
    private static void GradientAgrees(float[] actual, float[] a, float[] b, Func<int, int, double> weight, int dim, string what)
    {
        double[] x = Units(a, dim), y = Units(b, dim), sum = new double[dim];
        for (int i = 0; i < a.Length / dim; i++)
        {
            double size = 0, along = 0, length = Length(a, i, dim);
            Array.Clear(sum);
            for (int j = 0; j < b.Length / dim; j++)
            {
                double w = weight(i, j);
                size += Math.Abs(w);
                for (int d = 0; d < dim; d++) sum[d] += w * y[j * dim + d];
            }
            for (int d = 0; d < dim; d++) along += sum[d] * x[i * dim + d];
            for (int d = 0; d < dim; d++)
            {
                double expected = length == 0 ? 0 : (sum[d] - along * x[i * dim + d]) / length, bound = length == 0 ? 0 : 2e-6 * size / length;
                if (!(Math.Abs(actual[i * dim + d] - expected) <= bound))
                    Assert.Fail($"{what}: gradient of row {i}, element {d} is {actual[i * dim + d]}, expected {expected} to {bound:g2}");
            }
        }
    }

    private static void WithThreads(int threads, Action body)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            body();
        }
        finally { Device.Cpu.Threads = before; }
    }

    private static void Equal(Result actual, Result expected, string what)
    {
        Assert.That(actual.Similarities, Is.EqualTo(expected.Similarities), $"{what}: similarities");
        Assert.That(actual.GradA, Is.EqualTo(expected.GradA), $"{what}: gradient of a");
        Assert.That(actual.GradB, Is.EqualTo(expected.GradB), $"{what}: gradient of b");
    }

    [Test]
    public void Rows_with_themselves_get_both_sides_gradient([Values(1, 2, 33, 65, 257, 450)] int rows, [Values(1, 5, 128, 513)] int dim, [Values(128, 256, 512)] int bits)
    {
        if (bits > Simd.HardwareBits) Assert.Ignore($"This machine has vectors of up to {Simd.HardwareBits} bits.");
        using IDisposable limit = Simd.Limit(bits);
        float[] a = Normal(rows * dim, 1), up = Normal(rows * rows, 2);
        if (rows > 2) Array.Clear(a, dim, dim);
        Result one = null!;
        WithThreads(1, () => one = Ours(a, null, up, dim));
        SimilaritiesAgree(one.Similarities, a, a, dim, $"{rows} rows of {dim}");
        GradientAgrees(one.GradA, a, a, (i, j) => (double)up[i * rows + j] + up[j * rows + i], dim, $"{rows} rows of {dim}");
        foreach (int threads in new[] { 2, 5 }) WithThreads(threads, () => Equal(Ours(a, null, up, dim), one, $"{threads} threads"));
    }

    [Test]
    public void Two_matrices_get_a_gradient_each(
        [Values("1,257,5", "257,1,128", "33,65,128", "65,33,513", "450,31,1", "300,600,37", "600,300,37", "3,1000,700")] string sizes, [Values(128, 256, 512)] int bits)
    {
        if (bits > Simd.HardwareBits) Assert.Ignore($"This machine has vectors of up to {Simd.HardwareBits} bits.");
        using IDisposable limit = Simd.Limit(bits);
        int[] numbers = [.. sizes.Split(',').Select(int.Parse)];
        (int rows, int columns, int dim) = (numbers[0], numbers[1], numbers[2]);
        float[] a = Normal(rows * dim, 1), b = Normal(columns * dim, 2), up = Normal(rows * columns, 3);
        Result one = null!;
        WithThreads(1, () => one = Ours(a, b, up, dim));
        SimilaritiesAgree(one.Similarities, a, b, dim, sizes);
        GradientAgrees(one.GradA, a, b, (i, j) => up[i * columns + j], dim, $"{sizes}: a");
        GradientAgrees(one.GradB!, b, a, (j, i) => up[i * columns + j], dim, $"{sizes}: b");
        foreach (int threads in new[] { 2, 5 }) WithThreads(threads, () => Equal(Ours(a, b, up, dim), one, $"{threads} threads"));
    }

    /// <summary>The mirrored half is the same products summed in the same order, so nobody need tell the two forms apart.</summary>
    [Test]
    public void Rows_with_themselves_have_the_similarities_of_rows_and_their_copy([Values(65, 450)] int rows, [Values(5, 128)] int dim)
    {
        float[] a = Normal(rows * dim, 1), up = Normal(rows * rows, 2);
        float[] itself = Ours(a, null, up, dim).Similarities;
        Assert.That(itself, Is.EqualTo(Ours(a, [.. a], up, dim).Similarities));
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < i; j++) Assert.That(itself[i * rows + j], Is.EqualTo(itself[j * rows + i]), $"{i}, {j}");
    }

    [Test]
    public void A_row_that_is_not_finite_spoils_its_similarities_only([Values(true, false)] bool withItself)
    {
        const int Rows = 450, Dim = 5, Spoilt = 230;
        float[] a = Normal(Rows * Dim, 1), up = Normal(Rows * Rows, 2);
        a[Spoilt * Dim + 3] = float.NaN;
        float[] s = Ours(a, withItself ? null : [.. a], up, Dim).Similarities;
        for (int e = 0; e < s.Length; e++)
            Assert.That(float.IsNaN(s[e]), Is.EqualTo(e / Rows == Spoilt || e % Rows == Spoilt), $"{e / Rows}, {e % Rows}");
    }

    /// <summary>Such a matrix is streamed to memory when it lies on cache lines, and stored as any other when it does not.</summary>
    [Test]
    public unsafe void A_matrix_larger_than_the_caches_has_the_same_bits_wherever_it_lies([Values(true, false)] bool withItself)
    {
        const int Rows = 3008, Dim = 3;
        float[] a = Normal(Rows * Dim, 1), b = withItself ? a : Normal(Rows * Dim, 2);
        var cpu = (CpuDevice)Device.Cpu;
        fixed (float* x = a, y = b)
        {
            var call = new CosineSimilarityCall(Rows, Rows, Dim) { WithItself = withItself, A = new((nint)x, Dim), B = withItself ? default : new((nint)y, Dim) };
            using Tensor saved = Tensor.Empty(new(checked((int)(call.SavedBytes(cpu) / 4))), cpu), memory = Tensor.Empty(new(Rows * Rows + 1), cpu);
            Assert.That((long)memory.Pointer % 64, Is.Zero);
            float[] Similarities(int offset)
            {
                call.Saved = saved.Pointer;
                call.Similarities = memory.Pointer + 4 * offset;
                new Span<float>((void*)memory.Pointer, Rows * Rows + 1).Fill(float.NaN);
                call.Forward(cpu);
                return memory.ToArray()[offset..(offset + Rows * Rows)];
            }

            float[] streamed = Similarities(0);
            SimilaritiesAgree(streamed, a, b, Dim, "streamed");
            Assert.That(Similarities(1).AsSpan().SequenceEqual(streamed), "a matrix that does not lie on cache lines");
        }
    }
}
