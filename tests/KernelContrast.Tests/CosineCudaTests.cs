using KernelContrast.Cases;
using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>
/// What the op cases do not reach of the cosine kernels on CUDA: TF32 and bfloat16, large tiles, slices, lists outside of
/// shared memory, stripes, thread orders, and calls on addresses.
/// </summary>
[TestFixture]
internal sealed class CosineCudaTests
{
    private static float[] Normal(int count, ulong seed)
    {
        var random = new PhiloxStream(seed, 6);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextNormal())];
    }

    /// <summary>Few directions, so that most keys are as similar as another to the last bit, in any precision.</summary>
    private static float[] Directions(int rows, int seed) =>
        [.. Enumerable.Range(0, rows).SelectMany(i => Enumerable.Range(0, 5).Select(d => (i * 7 + seed) % 11 is var n && n == 10 ? 0 : n % 5 == d || (n > 4 && d == (n + 2) % 5) ? MathF.ScaleB(1, i % 5 - 2) : 0))];

    private sealed record Problem(int Rows, int Keys, int Dim, int K, bool ExcludeSelf = false);

    private static (int[] Indices, float[] Similarities) TopK(Device device, Problem p, Precision precision, float[] queries, float[]? keys)
    {
        using var scope = new TensorScope();
        Tensor q = Tensor.From<float>(queries, new(p.Rows, p.Dim), device), k = keys is null ? q : Tensor.From<float>(keys, new(p.Keys, p.Dim), device);
        (Tensor indices, Tensor similarities) = Functional.CosineTopK(q, k, p.K, p.ExcludeSelf, precision);
        return (indices.ToArray<int>(), similarities.ToArray());
    }

    /// <summary>The CPU rounds rows as CUDA does, but for those on an edge between two numbers.</summary>
    private static void AgreesWithCpu(Problem p, Precision precision)
    {
        float[] queries = Normal(p.Rows * p.Dim, 1);
        float[]? keys = p.ExcludeSelf ? null : Normal(p.Keys * p.Dim, 2);
        (_, float[] expected) = TopK(Device.Cpu, p, precision, queries, keys);
        (int[] indices, float[] actual) = TopK(TestDevice.Cuda, p, precision, queries, keys);
        double bound = precision switch { Precision.Float32 => 2e-6, Precision.Tf32 => 3e-4, _ => 3e-3 };
        for (int e = 0; e < expected.Length; e++) Assert.That(actual[e], Is.EqualTo(expected[e]).Within(bound), $"{p}, {precision}: element {e}");
        double rounding = precision switch { Precision.Float32 => 2e-6, Precision.Tf32 => 2e-3, _ => 2e-2 };
        for (int row = 0; row < p.Rows; row++)
        {
            int[] found = indices[(row * p.K)..((row + 1) * p.K)];
            Assert.That(found, Is.Unique);
            if (p.ExcludeSelf) Assert.That(found, Has.None.EqualTo(row));
            // the index is that of the key with the similarity
            for (int i = 0; i < p.K; i++)
                Assert.That(Cosine(queries, row, keys ?? queries, found[i], p.Dim), Is.EqualTo(actual[row * p.K + i]).Within(rounding), $"{p}, {precision}: row {row}, place {i}");
        }
    }

    private static double Cosine(float[] a, int i, float[] b, int j, int dim)
    {
        double dot = 0, aa = 0, bb = 0;
        for (int d = 0; d < dim; d++)
        {
            double x = a[i * dim + d], y = b[j * dim + d];
            (dot, aa, bb) = (dot + x * y, aa + x * x, bb + y * y);
        }
        return dot / Math.Sqrt(aa * bb);
    }

    [Test]
    public void Top_k_agrees_with_the_cpu([Values] Precision precision)
    {
        AgreesWithCpu(new(1, 1, 1, 1), precision);
        AgreesWithCpu(new(33, 257, 7, 33), precision);
        AgreesWithCpu(new(70, 70, 100, 69, ExcludeSelf: true), precision);
        AgreesWithCpu(new(5, 700, 16, 200), precision);
        AgreesWithCpu(new(130, 65, 768, 65), precision);
        AgreesWithCpu(new(64, 130, 16, 112), precision); // on tensor cores lists take all of the shared memory that there is for them
    }

    /// <summary>17 × 17 tiles of 128 × 128, or 33 × 33 of 64 × 64 in slices of five; lists in shared memory, and outside.</summary>
    [Test]
    public void Large_tiles_and_slices_of_several_give_the_same([Values] Precision precision, [Values(16, 130)] int k) =>
        AgreesWithCpu(new(2060, 2060, 33, k, ExcludeSelf: k == 16), precision);

    [Test]
    public void Equal_keys_come_by_index_on_every_device_and_in_every_precision([Values] Precision precision)
    {
        foreach (Problem p in new Problem[] { new(70, 400, 5, 60), new(130, 130, 5, 40, ExcludeSelf: true) })
        {
            float[] queries = Directions(p.Rows, 3);
            float[]? keys = p.ExcludeSelf ? null : Directions(p.Keys, 5);
            (int[] expected, _) = TopK(Device.Cpu, p, Precision.Float32, queries, keys);
            (int[] actual, _) = TopK(TestDevice.Cuda, p, precision, queries, keys);
            Assert.That(actual, Is.EqualTo(expected), p.ToString());
            for (int row = 0; row < p.Rows; row++)
                for (int i = 1; i < p.K; i++)
                {
                    int at = row * p.K + i;
                    double before = Cosine(queries, row, keys ?? queries, actual[at - 1], 5), now = Cosine(queries, row, keys ?? queries, actual[at], 5);
                    // NaN where a row is zero: similar to nothing
                    before = double.IsNaN(before) ? 0 : before;
                    now = double.IsNaN(now) ? 0 : now;
                    Assert.That(now < before - 1e-3 || (now < before + 1e-3 && actual[at] > actual[at - 1]), $"{p}: row {row}, place {i}");
                }
        }
    }

    private static IEnumerable<(string Name, Func<Device, Precision, float[][]> Run)> Ops()
    {
        yield return ("top-k", (device, precision) => Floats(TopK(device, new(70, 150, 5, 40), precision, Directions(70, 3), Normal(150 * 5, 4))));
        yield return ("top-k, lists outside of shared memory", (device, precision) => Floats(TopK(device, new(70, 150, 5, 140), precision, Directions(70, 3), Directions(150, 4))));
        yield return ("matrix", (device, precision) => Matrix(device, precision, 70, 150, 40));
        yield return ("matrix of rows with themselves", (device, precision) => Matrix(device, precision, 140, 0, 40));

        static float[][] Floats((int[] Indices, float[] Similarities) found) => [Array.ConvertAll(found.Indices, i => (float)i), found.Similarities];
    }

    private static IEnumerable<TestCaseData> Grid() =>
        from op in Ops() from precision in Enum.GetValues<Precision>() select new TestCaseData(op.Run, precision).SetArgDisplayNames(op.Name, precision.ToString());

    [TestCaseSource(nameof(Grid))]
    public void Every_order_of_threads_gives_the_same_bits(Func<Device, Precision, float[][]> run, Precision precision)
    {
        if (!TestDevice.IsEmulated) Assert.Ignore("GPUs choose their own order.");
        float[][]? first = null;
        foreach (string order in Emulated.Orders)
        {
            using IDisposable setting = Emulated.InOrder(order);
            float[][] now = run(Emulated.Device, precision);
            first ??= now;
            for (int i = 0; i < now.Length; i++) Assert.That(now[i].SequenceEqual(first[i]), $"{order}, output {i}");
        }
    }

    [TestCaseSource(nameof(Grid))]
    public void Checked_mode_finds_nothing(Func<Device, Precision, float[][]> run, Precision precision)
    {
        if (!TestDevice.IsEmulated) Assert.Ignore("Checked mode is the emulated driver's.");
        using IDisposable setting = Emulated.Checked();
        foreach (float[] output in run(Emulated.Device, precision)) Assert.That(output, Has.None.NaN);
    }

    /// <summary>The matrix and its gradients under a random upstream gradient; no columns: of rows with themselves.</summary>
    private static float[][] Matrix(Device device, Precision precision, int rows, int columns, int dim)
    {
        using var scope = new TensorScope();
        Tensor a = Tensor.From<float>(Normal(rows * dim, 5), new(rows, dim), device), b = columns == 0 ? a : Tensor.From<float>(Normal(columns * dim, 6), new(columns, dim), device);
        a.RequiresGrad = b.RequiresGrad = true;
        Tensor s = Functional.CosineSimilarity(a, b, precision);
        s.Backward(Tensor.From<float>(Normal((int)s.Count, 7), s.Shape, device));
        return columns == 0 ? [s.ToArray(), a.Grad!.ToArray()] : [s.ToArray(), a.Grad!.ToArray(), b.Grad!.ToArray()];
    }

    /// <summary>Three times the error of rounding the rows alone, and for gradients that of rounding what comes from above too.</summary>
    [TestCase(1, 1, 1), TestCase(33, 257, 7), TestCase(66, 70, 100), TestCase(70, 0, 64), TestCase(10, 17, 768), TestCase(2060, 2060, 24), TestCase(2060, 0, 24)]
    public void The_matrix_errs_as_naive_rounding_does(int rows, int columns, int dim)
    {
        float[][] exact = Matrix(Device.Cpu, Precision.Float32, rows, columns, dim);
        foreach (Products products in new[] { Products.Tf32, Products.BFloat16, Products.Hopper })
        {
            Precision precision = products.Precision();
            using IDisposable kernels = products.Use();
            float[][] naive = Matrix(Device.Cpu, precision, rows, columns, dim), actual = Matrix(TestDevice.Cuda, precision, rows, columns, dim);
            for (int i = 0; i < exact.Length; i++)
            {
                double size = exact[i].Max(Math.Abs), bound = 3 * Largest(naive[i], exact[i]) + size * (precision == Precision.BFloat16 ? 4e-3 : 5e-4);
                // In one dimension gradients cancel to nothing, but for rounding of terms as large as 1.
                if (dim == 1 && i > 0) bound = 1e-1;
                Assert.That(Largest(actual[i], exact[i]), Is.LessThanOrEqualTo(bound), $"output {i} in {products}; the naive error is {Largest(naive[i], exact[i]):G3}, the largest number {size:G3}");
            }
        }
    }

    /// <summary>In float32 several stripes of rows and slices of columns add up to what the CPU computes.</summary>
    [TestCase(40, 2500), TestCase(4180, 2060), TestCase(4180, 0)]
    public void Stripes_and_slices_add_up(int rows, int columns)
    {
        float[][] expected = Matrix(Device.Cpu, Precision.Float32, rows, columns, 8), actual = Matrix(TestDevice.Cuda, Precision.Float32, rows, columns, 8);
        for (int i = 0; i < expected.Length; i++) Assert.That(Largest(actual[i], expected[i]), Is.LessThanOrEqualTo(1e-5 * expected[i].Max(Math.Abs)), $"output {i}");
    }

    private static double Largest(float[] a, float[] b) => a.Zip(b).Max(x => float.IsNaN(x.First) ? double.PositiveInfinity : Math.Abs((double)x.First - x.Second));

    /// <summary>A stream of the caller's, rows with something between them, bfloat16 input, and no byte of managed memory after the first call.</summary>
    [Test]
    public void Calls_on_addresses_use_the_stream_they_are_given_and_allocate_nothing([Values] Products products, [Values(DType.Float32, DType.BFloat16)] DType type)
    {
        using IDisposable kernels = products.Use();
        Precision precision = products.Precision();
        const int Rows = 66, Keys = 70, Dim = 20, Stride = 24, K = 9;
        CudaDevice device = TestDevice.Cuda;
        using var scope = new TensorScope();
        // what bfloat16 holds exactly
        float[] queries = [.. Normal(Rows * Dim, 8).Select(x => MathF.Round(x * 8) / 8)], keys = [.. Normal(Keys * Dim, 9).Select(x => MathF.Round(x * 8) / 8)];
        float[] upstream = Normal(Rows * Keys, 10);
        (int[] indices, float[] similarities) = TopK(device, new(Rows, Keys, Dim, K), precision, queries, keys);
        Tensor a = Tensor.From<float>(queries, new(Rows, Dim), device), b = Tensor.From<float>(keys, new(Keys, Dim), device);
        a.RequiresGrad = b.RequiresGrad = true;
        Tensor matrix = Functional.CosineSimilarity(a, b, precision);
        matrix.Backward(Tensor.From<float>(upstream, matrix.Shape, device));

        device.MakeCurrent();
        using var stream = new CudaStreamHandle();
        Tensor wideQueries = Wide(queries, Rows), wideKeys = Wide(keys, Keys), index = Tensor.Zeros(new(Rows, K), device, DType.Int32), similarity = Tensor.Zeros(new(Rows, K), device);
        var topK = new CosineTopKCall(Rows, Keys, Dim, K)
        {
            Precision = precision,
            Queries = new(wideQueries.Pointer, Stride, type),
            Keys = new(wideKeys.Pointer, Stride, type),
            Indices = index.Pointer,
            Similarities = similarity.Pointer,
            Stream = stream.DangerousGetHandle(),
        };
        Tensor workspace = Bytes(topK.WorkspaceBytes(device));
        topK.Workspace = workspace.Pointer;
        Tensor values = Tensor.Zeros(new(Rows, Keys), device), above = Tensor.From<float>(upstream, new(Rows, Keys), device);
        Tensor gradA = Tensor.Full(new(Rows, Stride), -7, device), gradB = Tensor.Full(new(Keys, Stride), -7, device);
        var call = new CosineSimilarityCall(Rows, Keys, Dim)
        {
            Precision = precision,
            A = topK.Queries,
            B = topK.Keys,
            Similarities = values.Pointer,
            GradSimilarities = above.Pointer,
            GradA = new(gradA.Pointer, Stride),
            GradB = new(gradB.Pointer, Stride),
            Stream = topK.Stream,
        };
        Tensor saved = Bytes(call.SavedBytes(device)), scratch = Bytes(call.WorkspaceBytes(device));
        (call.Saved, call.Workspace) = (saved.Pointer, scratch.Pointer);
        device.Synchronize();
        long allocated = 0;
        for (int run = 0; run < 2; run++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            topK.Run(device);
            call.Forward(device);
            call.Backward(device);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        CudaException.Check(CudaDriver.cuStreamSynchronize(topK.Stream));
        Assert.That(allocated, Is.Zero);
        Assert.That(index.ToArray<int>(), Is.EqualTo(indices));
        Assert.That(similarity.ToArray(), Is.EqualTo(similarities));
        Assert.That(values.ToArray(), Is.EqualTo(matrix.ToArray()));
        Assert.That(Dense(gradA), Is.EqualTo(a.Grad!.ToArray()));
        Assert.That(Dense(gradB), Is.EqualTo(b.Grad!.ToArray()));

        Tensor Wide(float[] dense, int rows)
        {
            Tensor wide = Tensor.From<float>([.. Enumerable.Range(0, rows * Stride).Select(e => e % Stride < Dim ? dense[e / Stride * Dim + e % Stride] : float.NaN)], new(rows, Stride), device);
            return type == DType.Float32 ? wide : wide.To(type);
        }

        Tensor Bytes(long bytes) => Tensor.Full(new((int)(bytes / 4) + 1), float.NaN, device);

        static float[] Dense(Tensor gradient)
        {
            float[] all = gradient.ToArray();
            Assert.That(all.Where((_, e) => e % Stride >= Dim), Is.All.EqualTo(-7f), "what lies between the rows");
            return [.. all.Where((_, e) => e % Stride < Dim)];
        }
    }

    [Test]
    public void Infinities_and_zeros_are_the_same_on_every_device()
    {
        OpCase[] cases = [.. CaseRunner.AllCases.Where(c => c.Op.StartsWith("cosine", StringComparison.Ordinal) && c.Name.Contains("not finite"))];
        Assert.That(cases, Has.Length.EqualTo(3));
        foreach (OpCase test in cases)
            Assert.That(CaseRunner.Output(test, TestDevice.Cuda), Is.EqualTo(CaseRunner.Output(test, Device.Cpu)).Within(1e-6), test.ToString());
    }

    [Test]
    public void A_gradient_or_a_matrix_that_is_not_there_is_refused()
    {
        Assert.That(() => new CosineSimilarityCall(2, 3, 4).Forward(Device.Cpu), Throws.ArgumentException.With.Message.Contains("a is at 0"));
        Assert.That(() => new CosineSimilarityCall(2, 3, 4).Backward(Device.Cpu), Throws.ArgumentException.With.Message.Contains("GradSimilarities"));
        Assert.That(() => new CosineSimilarityCall(2, 3, 4) { WithItself = true }.SavedBytes(Device.Cpu), Throws.ArgumentException.With.Message.Contains("2 and 3 rows"));
        Assert.That(() => new CosineSimilarityCall(0, 3, 4).SavedBytes(Device.Cpu), Throws.ArgumentException.With.Message.Contains("0 and 3 rows"));
        Assert.That(() => new CosineSimilarityCall(2, 3, 4) { A = new(64, 4), B = new(64, 3) }.Forward(Device.Cpu), Throws.ArgumentException.With.Message.Contains("b is at 40").And.Message.Contains("stride of 3"));
        Assert.That(() => new CosineSimilarityCall(2, 2, 4) { WithItself = true, Saved = 64, Workspace = 64, GradSimilarities = 64, GradB = new DeviceMatrix(64, 4) }.Backward(Device.Cpu),
            Throws.ArgumentException.With.Message.Contains("GradB"));
    }
}
