namespace KernelContrast.Tests;

/// <summary>What the op cases do not reach of top-k cosine neighbours: plain calls, threads, precision and refusals.</summary>
[TestFixture]
internal sealed class CosineTopKTests
{
    private static float[] Normal(int count, ulong seed)
    {
        var random = new PhiloxStream(seed, 3);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextNormal())];
    }

    private static (int[] Indices, float[] Similarities) Run(CosineTopKCall call, float[] queries, float[] keys)
    {
        var indices = new int[call.QueryRows * call.K];
        var similarities = new float[indices.Length];
        call.Run(queries, keys, indices, similarities);
        return (indices, similarities);
    }

    [Test]
    public void Bits_do_not_depend_on_the_number_of_threads()
    {
        // Few queries: with more threads the keys are cut into more slices. Every key is there thrice.
        float[] queries = Normal(5 * 9, 1), third = Normal(1500 * 9, 2), keys = [.. third, .. third, .. third];
        var call = new CosineTopKCall(5, 4500, 9, 70);
        int threads = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = 1;
            (int[] indices, float[] similarities) = Run(call, queries, keys);
            Assert.That(indices.Take(3), Is.EqualTo(new[] { indices[0], indices[0] + 1500, indices[0] + 3000 }));
            foreach (int many in new[] { 2, 3, 7 })
            {
                Device.Cpu.Threads = many;
                (int[] i, float[] s) = Run(call, queries, keys);
                Assert.That(i, Is.EqualTo(indices), $"{many} threads");
                Assert.That(s, Is.EqualTo(similarities), $"{many} threads");
            }
        }
        finally { Device.Cpu.Threads = threads; }
    }

    [Test]
    public void Spans_addresses_and_tensors_give_the_same_and_calls_allocate_nothing()
    {
        const int Rows = 40, Keys = 300, Dim = 33, Stride = 37, K = 7;
        float[] queries = Normal(Rows * Dim, 3), keys = Normal(Keys * Dim, 4);
        var call = new CosineTopKCall(Rows, Keys, Dim, K);
        (int[] indices, float[] similarities) = Run(call, queries, keys);
        using var scope = new TensorScope();
        (Tensor i, Tensor s) = Functional.CosineTopK(Tensor.From<float>(queries, new(Rows, Dim)), Tensor.From<float>(keys, new(Keys, Dim)), K);
        Assert.That(i.ToArray<int>(), Is.EqualTo(indices));
        Assert.That(s.ToArray(), Is.EqualTo(similarities));

        Tensor wideQueries = Wide(queries, Rows), wideKeys = Wide(keys, Keys), index = Tensor.Zeros(new(Rows, K), type: DType.Int32), similarity = Tensor.Zeros(new(Rows, K));
        Tensor workspace = Tensor.Full(new((int)(call.WorkspaceBytes(Device.Cpu) / 4) + 1), float.NaN);
        (call.Queries, call.Keys) = (new(wideQueries.Pointer, Stride), new(wideKeys.Pointer, Stride));
        (call.Indices, call.Similarities, call.Workspace) = (index.Pointer, similarity.Pointer, workspace.Pointer);
        call.Run(Device.Cpu);
        Assert.That(index.ToArray<int>(), Is.EqualTo(indices));
        Assert.That(similarity.ToArray(), Is.EqualTo(similarities));

        var again = new int[indices.Length];
        var same = new float[indices.Length];
        new CosineTopKCall(Rows, Keys, Dim, K).Run(queries, keys, again, same);
        long before = GC.GetAllocatedBytesForCurrentThread();
        call.Run(Device.Cpu);
        new CosineTopKCall(Rows, Keys, Dim, K).Run(queries, keys, again, same);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);

        static Tensor Wide(float[] values, int rows) => Tensor.From<float>([.. Enumerable.Range(0, rows * Stride)
            .Select(e => e % Stride < Dim ? values[e / Stride * Dim + e % Stride] : float.NaN)], new(rows, Stride));
    }

    /// <summary>
    /// All similarities are negative, so that what stands for no key (padding, a key that is not finite: zeros) would come first if it got in;
    /// the key that is not finite is one query's own.
    /// </summary>
    [TestCase(0), TestCase(40)]
    public void Every_number_of_rows_leaves_self_and_padding_out(int more)
    {
        const int Dim = 5;
        for (int rows = 2; rows <= 70; rows++)
        {
            int columns = rows + more, k = columns - 1;
            float[] queries = [.. Normal(rows * Dim, 7).Select(v => 0.1f + Math.Abs(v))], keys = [.. Normal(columns * Dim, 8).Select(v => -0.1f - Math.Abs(v))];
            int odd = rows / 2;
            keys[odd * Dim + 1] = float.NaN;
            (int[] indices, float[] similarities) = Run(new(rows, columns, Dim, k) { ExcludeSelf = true }, queries, keys);
            for (int i = 0; i < rows; i++)
            {
                double[] exact = [.. Enumerable.Range(0, columns).Select(j => Cosine(i, j))];
                int[] expected = [.. Enumerable.Range(0, columns).Where(j => j != i).OrderByDescending(j => j == odd ? double.PositiveInfinity : exact[j])];
                Assert.That(indices.Skip(i * k).Take(k), Is.EqualTo(expected), $"{rows} rows, query {i}");
                for (int r = 0; r < k; r++) Assert.That(similarities[i * k + r], Is.EqualTo(exact[expected[r]]).Within(1e-6), $"{rows} rows, query {i}, rank {r}");
            }

            double Cosine(int i, int j)
            {
                double product = 0, a = 0, b = 0;
                for (int c = 0; c < Dim; c++)
                {
                    double x = queries[i * Dim + c], y = keys[j * Dim + c];
                    (product, a, b) = (product + x * y, a + x * x, b + y * y);
                }
                return product / Math.Sqrt(a * b);
            }
        }
    }

    [Test]
    public void Memory_is_no_matrix_of_queries_by_keys()
    {
        var call = new CosineTopKCall(65536, 65536, 128, 20);
        long bytes = call.WorkspaceBytes(Device.Cpu);
        Assert.That(bytes, Is.LessThan(2L * 65536 * 128 * 4).And.GreaterThan(65536L * 128 * 4));
    }

    [TestCase(Precision.Tf32, 1e-3), TestCase(Precision.BFloat16, 8e-3)]
    public void Precisions_round_the_rows(Precision precision, double share)
    {
        float[] queries = Normal(20 * 64, 5), keys = Normal(90 * 64, 6);
        (_, float[] exact) = Run(new(20, 90, 64, 5), queries, keys);
        (_, float[] rounded) = Run(new(20, 90, 64, 5) { Precision = precision }, queries, keys);
        Assert.That(rounded, Is.EqualTo(exact).Within(share).And.Not.EqualTo(exact));
    }

    [Test]
    public void What_does_not_fit_is_refused_in_plain_words()
    {
        using var scope = new TensorScope();
        Tensor a = Tensor.Full(new(4, 3), 1), five = Tensor.Full(new(5, 3), 1), wide = Tensor.Full(new(4, 2), 1);
        Refuses(() => Functional.CosineTopK(a, five, 6), "k is 6", "1 to 5");
        Refuses(() => Functional.CosineTopK(a, five, 0), "k is 0");
        Refuses(() => Functional.CosineTopK(a, five, 5, excludeSelf: true), "1 to 4", "own");
        Refuses(() => Functional.CosineTopK(five, a, 1, excludeSelf: true), "4 keys", "5 queries");
        Refuses(() => Functional.CosineTopK(a, wide, 1), "[4, 3]", "[4, 2]");
        Refuses(() => Functional.CosineTopK(a, Tensor.Empty(new(0, 3), Device.Cpu), 1), "0 keys");
        Refuses(() => new CosineTopKCall(2, 2, 3, 1).Run(Device.Cpu), "queries are at 0");
        Refuses(() => new CosineTopKCall(2, 2, 3, 1).Run(new float[6], new float[5], new int[2], new float[2]), "keys have 5 elements");
        float[] same = new float[6];
        Refuses(() => new CosineTopKCall(2, 2, 3, 1).Run(same, new float[6], new int[2], same.AsSpan(0, 2)), "overlap");
        (Tensor none, _) = Functional.CosineTopK(Tensor.Empty(new(0, 3), Device.Cpu), a, 2);
        Assert.That(none.Shape, Is.EqualTo(new Shape(0, 2)));

        static void Refuses(Action call, params string[] saying)
        {
            var error = Assert.Throws<ArgumentException>(() => call())!;
            foreach (string words in saying) Assert.That(error.Message, Does.Contain(words));
        }
    }
}
