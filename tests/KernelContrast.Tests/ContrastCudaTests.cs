using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>
/// What the op cases do not reach of the family's CUDA kernels: TF32 and bfloat16, large tiles, groups of tiles, several
/// stripes and slices, thread orders, and calls on addresses.
/// </summary>
[TestFixture]
internal sealed class ContrastCudaTests
{
    /// <summary>
    /// How much worse than the naive rounding of the rows alone the kernels may be, which round weights too and sum in
    /// float32.
    /// </summary>
    private const double Factor = 3;

    internal static readonly LossKind[] Kinds = Enum.GetValues<LossKind>();

    internal sealed record Problem(LossKind Kind, int Rows, int Columns, int Dim, float Temperature, bool Labels = false, Reduction Reduction = Reduction.Mean, bool Normalize = true);

    internal sealed record Result(float[] Loss, float[] Rows, float[] Columns, float[] Temperature, float[] Bias)
    {
        internal float[][] All => [Loss, Rows, Columns, Temperature, Bias];
    }

    /// <summary>Row i resembles row i + rows/2 and column i, so that losses are neither 0 nor that of chance.</summary>
    private static float[] Values(int rows, int dim, int period, ulong stream)
    {
        PhiloxStream common = new(seed: 3, stream: 0), own = new(seed: 3, stream);
        float[] shared = [.. Enumerable.Range(0, period * dim).Select(_ => common.NextNormal())];
        return [.. Enumerable.Range(0, rows * dim).Select(e => shared[e % (period * dim)] + 0.7f * own.NextNormal())];
    }

    internal static LossCall Describe(Problem p, Precision precision) =>
        new(p.Kind, p.Rows, p.Kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon ? 0 : p.Columns, p.Dim, p.Temperature)
        {
            Precision = precision,
            Reduction = p.Reduction,
            Normalize = p.Normalize,
            Bias = p.Kind == LossKind.SigLip ? -3 : 0,
        };

    /// <param name="stream">Of CUDA, 0: the device's own.</param>
    /// <param name="slack">Elements between one row and the next.</param>
    internal static Result Run(Device device, Problem p, Precision precision, nint stream = 0, int slack = 0, Func<LossCall, long>? around = null)
    {
        using var scope = new TensorScope();
        LossCall call = Describe(p, precision);
        int period = call.IsWithinBatch ? Math.Max(1, p.Rows / 2) : p.Rows, stride = p.Dim + slack;
        bool moco = p.Kind == LossKind.Moco;
        Tensor embeddings = Matrix(p.Rows, 1), keys = Matrix(p.Columns, 2), positives = Matrix(p.Rows, 3);
        int labelled = moco ? p.Rows + p.Columns : call.Columns;
        Tensor labels = Tensor.From<int>([.. Enumerable.Range(0, labelled).Select(i => i % 11 == 5 ? -1 : i * i % 7)], new(labelled), device);
        Tensor loss = Tensor.Full(p.Reduction == Reduction.None ? new(p.Rows) : new(), float.NaN, device);
        Tensor gradLoss = Tensor.From<float>([.. Enumerable.Range(0, loss.Count > 1 ? p.Rows : 1).Select(i => 1 + 0.3f * MathF.Sin(i))], loss.Shape, device);
        Tensor gradRows = Tensor.Full(new(p.Rows, stride), -7, device), gradColumns = Tensor.Full(new(call.Columns, stride), -7, device);
        Tensor gradTemperature = Tensor.Zeros(new(), device), gradBias = Tensor.Zeros(new(), device);

        call.Embeddings = new(embeddings.Pointer, stride);
        if (!call.IsWithinBatch) call.Keys = new(keys.Pointer, stride);
        if (moco) call.Positives = new(positives.Pointer, stride);
        if (p.Labels || p.Kind == LossKind.SupCon) call.Labels = labels.Pointer;
        (call.Loss, call.GradLoss, call.Stream) = (loss.Pointer, gradLoss.Pointer, stream);
        call.GradEmbeddings = new(gradRows.Pointer, stride);
        if (!call.IsWithinBatch && !moco) call.GradKeys = new(gradColumns.Pointer, stride);
        call.GradTemperature = gradTemperature.Pointer;
        if (p.Kind == LossKind.SigLip) call.GradBias = gradBias.Pointer;
        Tensor saved = Tensor.Empty(new((int)(call.SavedBytes(device) / 4) + 1), device), workspace = Tensor.Empty(new((int)(call.WorkspaceBytes(device) / 4) + 1), device);
        (call.Saved, call.Workspace) = (saved.Pointer, workspace.Pointer);
        device.Synchronize();
        if (around is null)
        {
            call.Forward(device);
            call.Backward(device);
        }
        else Assert.That(around(call), Is.Zero, "bytes allocated by both passes");
        if (stream != 0) CudaException.Check(CudaDriver.cuStreamSynchronize(stream));
        GC.KeepAlive((embeddings, keys, positives, labels));
        return new(loss.ToArray(), Dense(gradRows), call.GradKeys.Pointer == 0 ? [] : Dense(gradColumns), gradTemperature.ToArray(), gradBias.ToArray());

        Tensor Matrix(int rows, ulong seed)
        {
            float[] dense = Values(rows, p.Dim, period, seed);
            return Tensor.From<float>([.. Enumerable.Range(0, rows * stride).Select(e => e % stride < p.Dim ? dense[e / stride * p.Dim + e % stride] : float.NaN)], new(rows, stride), device);
        }

        float[] Dense(Tensor matrix)
        {
            float[] all = matrix.ToArray();
            Assert.That(all.Where((_, e) => e % stride >= p.Dim), Is.All.EqualTo(-7f), "what lies between the rows");
            return [.. all.Where((_, e) => e % stride < p.Dim)];
        }
    }

    private static double Largest(float[] a, float[] b) =>
        a.Length == 0 ? 0 : a.Zip(b).Max(x => float.IsNaN(x.First) || float.IsNaN(x.Second) ? double.PositiveInfinity : Math.Abs((double)x.First - x.Second));

    internal static void MatchesNaiveRounding(Problem p, Products products)
    {
        Precision precision = products.Precision();
        using IDisposable kernels = products.Use();
        Result exact = Run(Device.Cpu, p, Precision.Float32), naive = Run(Device.Cpu, p, precision), actual = Run(TestDevice.Cuda, p, precision);
        foreach ((float[] e, float[] n, float[] a, string what) in exact.All.Zip(naive.All, actual.All)
            .Select((x, i) => (x.First, x.Second, x.Third, new[] { "loss", "rows", "columns", "temperature", "bias" }[i])))
        {
            double size = e.Length == 0 ? 0 : e.Max(Math.Abs), bound = Factor * Largest(n, e) + size * (precision == Precision.BFloat16 ? 4e-3 : 5e-4);
            Assert.That(Largest(a, e), Is.LessThanOrEqualTo(bound), $"{what} of {p}, {products}; the naive error is {Largest(n, e):G3}, the largest number {size:G3}");
        }
    }

    [Test]
    public void Low_precisions_err_as_their_naive_rounding_does([ValueSource(nameof(Kinds))] LossKind kind, [Values(Products.Tf32, Products.BFloat16, Products.Hopper, Products.HopperInTwoBlocks, Products.HopperInStripes)] Products products)
    {
        foreach ((int rows, int columns, int dim) in new[] { (4, 5, 1), (66, 70, 7), (130, 200, 100), (34, 64, 768) })
            foreach (float temperature in new[] { 0.1f, 0.02f })
                MatchesNaiveRounding(new(kind, rows, kind == LossKind.Clip ? rows : columns, dim, temperature), products);
        int wide = kind == LossKind.Clip ? 70 : 90;
        MatchesNaiveRounding(new(kind, 70, wide, 33, 0.1f, Labels: true, Reduction.None), products);
        MatchesNaiveRounding(new(kind, 70, wide, 33, 30f, Normalize: false, Reduction: Reduction.Sum), products);
    }

    /// <summary>The sizes the contract names, small ones always and all in a thorough run.</summary>
    [Test]
    public void Nt_xent_agrees_with_the_cpu([Values] Products products)
    {
        bool thorough = Environment.GetEnvironmentVariable("KERNELCONTRAST_TEST_THOROUGH") == "1";
        foreach (int pairs in new[] { 1, 33, 257, 513 })
            foreach (int dim in new[] { 1, 7, 64, 100, 128, 768, 2048 })
            {
                if (!thorough && (pairs > 33 || dim > 128)) continue;
                var p = new Problem(LossKind.NtXent, 2 * pairs, 0, dim, 0.1f);
                if (products != Products.Float32)
                {
                    MatchesNaiveRounding(p, products);
                    continue;
                }
                Result expected = Run(Device.Cpu, p, Precision.Float32), actual = Run(TestDevice.Cuda, p, Precision.Float32);
                Assert.That(actual.Loss[0], Is.EqualTo(expected.Loss[0]).Within(1e-5 * Math.Max(1, expected.Loss[0])), p.ToString());
                // Of the size of the gradient's terms, which is at least 1/(rows τ ‖h‖); in one dimension they cancel to nothing.
                double smallest = 1 / (p.Rows * p.Temperature * 1.5 * Math.Sqrt(dim));
                Assert.That(Largest(actual.Rows, expected.Rows), Is.LessThanOrEqualTo(1e-5 * Math.Max(smallest, expected.Rows.Max(Math.Abs))), p.ToString());
            }
    }

    /// <summary>Enough rows for tiles of 128 × 128: 17 × 17 of them, the last of each line 12 wide.</summary>
    [TestCase(LossKind.NtXent, Products.BFloat16), TestCase(LossKind.NtXent, Products.Tf32), TestCase(LossKind.Clip, Products.BFloat16), TestCase(LossKind.SupCon, Products.Tf32)]
    [TestCase(LossKind.NtXent, Products.Hopper), TestCase(LossKind.Clip, Products.Hopper), TestCase(LossKind.NtXent, Products.HopperInStripes)]
    [TestCase(LossKind.NtXent, Products.HopperInTwoBlocks)]
    public void Large_tiles_err_as_naive_rounding_does(LossKind kind, Products products) =>
        MatchesNaiveRounding(new(kind, 2060, 2060, 40, 0.1f), products);

    /// <summary>More than 4096 tiles, so groups of 2 × 2; three stripes of weights; the queue's product in slices.</summary>
    [TestCase(LossKind.NtXent, 4180, 0), TestCase(LossKind.Clip, 4180, 4180), TestCase(LossKind.Moco, 40, 2500)]
    public void Groups_stripes_and_slices_add_up(LossKind kind, int rows, int columns)
    {
        var p = new Problem(kind, rows, columns, 24, 0.1f);
        Result expected = Run(Device.Cpu, p, Precision.Float32), actual = Run(TestDevice.Cuda, p, Precision.Float32);
        foreach ((float[] e, float[] a) in expected.All.Zip(actual.All))
            Assert.That(Largest(a, e), Is.LessThanOrEqualTo(e.Length == 0 ? 0 : 1e-5 * e.Max(Math.Abs) + 1e-12), p.ToString());
    }

    [Test]
    public void Every_order_of_threads_gives_the_same_bits([ValueSource(nameof(Kinds))] LossKind kind, [Values] Products products)
    {
        using IDisposable kernels = products.Use();
        if (!TestDevice.IsEmulated) Assert.Ignore("GPUs choose their own order.");
        var p = new Problem(kind, 140, kind == LossKind.Clip ? 140 : 150, 40, 0.1f, Labels: true);
        Result? first = null;
        foreach (string order in Emulated.Orders)
        {
            using IDisposable setting = Emulated.InOrder(order);
            Result now = Run(Emulated.Device, p, products.Precision());
            first ??= now;
            for (int i = 0; i < now.All.Length; i++) Assert.That(now.All[i].SequenceEqual(first.All[i]), $"{order}, output {i}");
        }
    }

    [Test]
    public void Checked_mode_finds_nothing([ValueSource(nameof(Kinds))] LossKind kind, [Values] Products products)
    {
        using IDisposable kernels = products.Use();
        if (!TestDevice.IsEmulated) Assert.Ignore("Checked mode is the emulated driver's.");
        using IDisposable setting = Emulated.Checked();
        foreach (float temperature in new[] { 0.1f, 0.01f })
            Assert.That(Run(Emulated.Device, new(kind, 70, kind == LossKind.Clip ? 70 : 75, 40, temperature, Labels: temperature == 0.1f), products.Precision()).Rows, Has.None.NaN);
    }

    /// <summary>A stream of the caller's, rows with something between them, and no byte of managed memory after the first call.</summary>
    [Test]
    public void Calls_on_addresses_use_the_stream_they_are_given_and_allocate_nothing([ValueSource(nameof(Kinds))] LossKind kind, [Values] Products products)
    {
        using IDisposable kernels = products.Use();
        Precision precision = products.Precision();
        CudaDevice device = TestDevice.Cuda;
        var p = new Problem(kind, 66, 66, 20, 0.1f, Labels: true);
        Result expected = Run(device, p, precision);
        device.MakeCurrent();
        using var stream = new CudaStreamHandle();
        Result actual = Run(device, p, precision, stream.DangerousGetHandle(), slack: 3, around: call =>
        {
            call.Forward(device);
            call.Backward(device);
            long before = GC.GetAllocatedBytesForCurrentThread();
            call.Forward(device);
            call.Backward(device);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        });
        for (int i = 0; i < expected.All.Length; i++) Assert.That(actual.All[i], Is.EqualTo(expected.All[i]));
    }
}
