using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>What the cases cannot say of the family: determinism, memory, calls on spans and on addresses.</summary>
[TestFixture]
internal sealed unsafe class LossFamilyTests
{
    private static readonly LossKind[] Kinds = Enum.GetValues<LossKind>();

    /// <summary>All but MoCo, whose sweep a τ read later would rule out, and with it the memory.</summary>
    private static readonly LossKind[] KindsOfOneMemory = [.. Kinds.Where(kind => kind != LossKind.Moco)];

    private static readonly float[] Temperatures = [0.1f, 0.01f];

    [Test]
    public void Runs_repeat_bit_for_bit([ValueSource(nameof(Kinds))] LossKind kind, [Values(1, 2, 3)] int threads)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            foreach (float temperature in Temperatures)
            {
                Inputs first = new(kind, 150, 170, 24), again = new(kind, 150, 170, 24);
                LossResult result = first.Run(temperature);
                for (int run = 0; run < 5; run++)
                {
                    Assert.That(again.Run(temperature), Is.EqualTo(result));
                    Assert.That(again.GradEmbeddings, Is.EqualTo(first.GradEmbeddings));
                    Assert.That(again.GradKeys, Is.EqualTo(first.GradKeys));
                }
            }
        }
        finally { Device.Cpu.Threads = before; }
    }

    [Test]
    public void The_call_on_spans_allocates_nothing_once_warm([ValueSource(nameof(Kinds))] LossKind kind)
    {
        Inputs on = new(kind, 128, 160, 32);
        for (int i = 0; i < 3; i++) on.Run(0.1f);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) on.Run(0.1f);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    [Test]
    public void Strided_memory_of_the_callers_gives_what_dense_spans_give([ValueSource(nameof(Kinds))] LossKind kind)
    {
        const int rows = 20, columns = 28, dim = 11, stride = 17;
        Inputs dense = new(kind, rows, columns, dim);
        LossResult expected = dense.Run(0.2f);
        LossCall call = dense.Call(0.2f);
        float[] embeddings = Spread(dense.Embeddings), keys = Spread(dense.Keys), positives = Spread(dense.Positives);
        float[] gradient = new float[rows * stride], gradKeys = new float[columns * stride], scalars = [0, 1, 0, 0];
        gradient.AsSpan().Fill(42);
        fixed (float* h = embeddings, k = keys, p = positives, g = gradient, gk = gradKeys, s = scalars)
        fixed (int* labels = dense.Labels)
        {
            call.Labels = (nint)labels;
            byte[] saved = new byte[call.SavedBytes(Device.Cpu) + 63], workspace = new byte[call.WorkspaceBytes(Device.Cpu) + 63];
            fixed (byte* kept = saved, scratch = workspace)
            {
                call.Embeddings = new((nint)h, stride);
                call.Keys = new((nint)k, stride);
                call.Positives = new((nint)p, stride);
                (call.Saved, call.Workspace, call.Loss, call.GradLoss) = (Aligned(kept), Aligned(scratch), (nint)s, (nint)(s + 1));
                call.Forward(Device.Cpu);
                call.GradEmbeddings = new((nint)g, stride);
                if (dense.GradKeys.Length > 0) call.GradKeys = new((nint)gk, stride);
                call.GradTemperature = (nint)(s + 2);
                if (kind == LossKind.SigLip) call.GradBias = (nint)(s + 3);
                call.Backward(Device.Cpu);
            }
        }
        Assert.That(scalars[0], Is.EqualTo((float)expected.Loss));
        Assert.That(scalars[2], Is.EqualTo(expected.GradTemperature));
        Assert.That(scalars[3], Is.EqualTo(expected.GradBias));
        for (int e = 0; e < rows * stride; e++)
            Assert.That(gradient[e], Is.EqualTo(e % stride < dim ? dense.GradEmbeddings[e / stride * dim + e % stride] : 42), $"element {e}");
        for (int e = 0; e < dense.GradKeys.Length; e++) Assert.That(gradKeys[e / dim * stride + e % dim], Is.EqualTo(dense.GradKeys[e]));

        static nint Aligned(byte* memory) => ((nint)memory + 63) & ~63;

        static float[] Spread(float[] values)
        {
            var spread = new float[values.Length / dim * stride];
            for (int e = 0; e < values.Length; e++) spread[e / dim * stride + e % dim] = values[e];
            return spread;
        }
    }

    [Test]
    public void Tape_and_spans_agree([ValueSource(nameof(Temperatures))] float temperature)
    {
        Inputs on = new(LossKind.Clip, 34, 34, 20);
        LossResult expected = on.Run(temperature);
        using var scope = new TensorScope();
        Tensor images = Tensor.From<float>(on.Embeddings, new(34, 20)), texts = Tensor.From<float>(on.Keys, new(34, 20)), tau = Tensor.From<float>([temperature], new());
        foreach (Tensor t in new[] { images, texts, tau }) t.RequiresGrad = true;
        Tensor loss = Clip.Loss(images, texts, tau);
        loss.Backward();
        Assert.That(loss.Item(), Is.EqualTo((float)expected.Loss));
        Assert.That(images.Grad!.ToArray(), Is.EqualTo(on.GradEmbeddings));
        Assert.That(texts.Grad!.ToArray(), Is.EqualTo(on.GradKeys));
        Assert.That(tau.Grad!.Item(), Is.EqualTo(expected.GradTemperature));
    }

    [Test]
    public void Only_what_wants_a_gradient_gets_one()
    {
        using var scope = new TensorScope();
        Tensor queries = Tensor.RandomNormal(new(40, 9), 1), keys = Tensor.RandomNormal(new(50, 9), 2), all = Tensor.RandomNormal(new(40, 9), 1);
        keys.RequiresGrad = true;
        InfoNce.Loss(queries, keys, 0.1f).Backward();
        float[] alone = keys.Grad!.ToArray();
        keys.ClearGrad();
        all.RequiresGrad = true;
        InfoNce.Loss(all, keys, 0.1f).Backward();
        Assert.That(queries.Grad, Is.Null);
        Assert.That(keys.Grad!.ToArray(), Is.EqualTo(alone).Within(1e-7));
        using Tensor queue = Tensor.RandomNormal(new(50, 9), 3);
        Assert.That(() => Moco.Loss(all, queries, keys, 0.1f), Throws.ArgumentException.With.Message.Contains("Detach()"));
        Assert.That(Moco.Loss(all, queries, queue, 0.1f).RequiresGrad, Is.True);
    }

    [TestCase(LossKind.NtXent), TestCase(LossKind.InfoNce), TestCase(LossKind.Clip), TestCase(LossKind.SigLip), TestCase(LossKind.SupCon)]
    public void Both_sides_of_the_switch_of_shifts_agree(LossKind kind)
    {
        // the loss is smooth in τ, so the two paths, a hair apart, must meet
        Inputs below = new(kind, 66, 80, 40), above = new(kind, 66, 80, 40);
        double a = below.Run(MathF.BitDecrement(ContrastOp.FixedShiftTemperature)).Loss, b = above.Run(ContrastOp.FixedShiftTemperature).Loss;
        Assert.That(a, Is.EqualTo(b).Within(2e-5 * Math.Max(1, Math.Abs(b))));
        double size = above.GradEmbeddings.Max(Math.Abs);
        for (int e = 0; e < above.GradEmbeddings.Length; e++) Assert.That(below.GradEmbeddings[e], Is.EqualTo(above.GradEmbeddings[e]).Within(1e-4 * size));
    }

    [Test]
    public void Bfloat16_errs_as_a_naive_bfloat16_product_does([ValueSource(nameof(Kinds))] LossKind kind)
    {
        // rows rounded beforehand and taken as they are: what a naive implementation computes, exactly
        const int rows = 40, columns = 48, dim = 64;
        Inputs exact = new(kind, rows, columns, dim), rounded = new(kind, rows, columns, dim);
        double reference = exact.Run(0.1f).Loss;
        double loss = rounded.Run(rounded.Call(0.1f) with { Precision = Precision.BFloat16 }).Loss;
        Inputs naive = new(kind, rows, columns, dim);
        foreach (float[] matrix in new[] { naive.Embeddings, naive.Keys, naive.Positives }) RoundRows(matrix, dim);
        double expected = naive.Run(naive.Call(0.1f) with { Normalize = false }).Loss;
        Assert.That(loss, Is.EqualTo(expected).Within(1e-4 * Math.Max(1, expected)));
        Assert.That(loss, Is.Not.EqualTo(reference));
        Assert.That(Math.Abs(loss - reference), Is.LessThanOrEqualTo(2 * Math.Abs(expected - reference) + 1e-4));
    }

    [Test]
    public void Memory_grows_with_rows_times_columns_of_a_row()
    {
        foreach (LossKind kind in Kinds)
        {
            long Bytes(int rows)
            {
                LossCall call = new(kind, rows, kind == LossKind.Moco ? 4 * rows : rows, 128, 0.1f) { Labels = 1 };
                return call.SavedBytes(Device.Cpu) + call.WorkspaceBytes(Device.Cpu);
            }
            Assert.That(Bytes(65536) / (double)Bytes(16384), Is.LessThan(4.01), kind.ToString());
        }
        // 131,072 rows of 128 on two threads, with the rows and their gradient, in 600 MiB
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = 2;
            LossCall call = new(LossKind.NtXent, 131072, 0, 128, 0.1f);
            long bytes = call.SavedBytes(Device.Cpu) + call.WorkspaceBytes(Device.Cpu) + 2 * 131072L * 128 * 4;
            Assert.That(bytes, Is.LessThan(450L << 20));
        }
        finally { Device.Cpu.Threads = before; }
    }

    /// <summary>The rows are ragged, and more than one tile each way; on one thread even the order of sums is the same.</summary>
    [Test]
    public void Similarities_kept_or_computed_again_give_the_same_gradients([ValueSource(nameof(Kinds))] LossKind kind, [Values(1, 2, 3)] int threads,
        [Values(32, 130)] int dim, [Values] bool labelled)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            const int Rows = 302, Columns = 421;
            Inputs kept = new(kind, Rows, Columns, dim), again = new(kind, Rows, Columns, dim);
            if (labelled && kind != LossKind.SupCon) kept.Labels = again.Labels = [.. Enumerable.Range(0, Rows + Columns).Select(i => i % 5).Take(kind == LossKind.Moco ? Rows + Columns : kept.Call(1).Columns)];
            foreach (float temperature in Temperatures)
            {
                // SigLIP's sum keeps none: its rows' own losses do.
                LossCall call = kept.Call(temperature) with { MostKeptBytes = long.MaxValue, Reduction = kind == LossKind.SigLip ? Reduction.None : Reduction.Mean }, lean = call with { MostKeptBytes = 0 };
                (LossResult a, LossResult b) = (kept.Run(call), again.Run(lean));
                Assert.That(a.Loss, Is.EqualTo(b.Loss));
                float scale = threads == 1 ? 0 : 1e-5f;
                Assert.That(a.GradTemperature, Is.EqualTo(b.GradTemperature).Within(scale * Math.Abs(b.GradTemperature)));
                Assert.That(a.GradBias, Is.EqualTo(b.GradBias).Within(scale * Math.Abs(b.GradBias)));
                Same(kept.GradEmbeddings, again.GradEmbeddings, scale);
                Same(kept.GradKeys, again.GradKeys, scale);
            }
        }
        finally { Device.Cpu.Threads = before; }
    }

    /// <summary>A sum's gradients are formed with the loss, those of each row's own loss in a second pass.</summary>
    [Test]
    public void SigLips_gradients_are_the_same_in_one_pass_or_two([Values(1, 2, 3)] int threads, [Values(5, 130)] int dim, [Values] bool labelled, [Values] bool constantKeys)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            const int Rows = 302, Columns = 421;
            Inputs one = new(LossKind.SigLip, Rows, Columns, dim), two = new(LossKind.SigLip, Rows, Columns, dim);
            if (labelled) one.Labels = two.Labels = [.. Enumerable.Range(0, Columns).Select(i => i % 2)];
            foreach (float temperature in Temperatures)
            {
                LossCall call = one.Call(temperature) with { Reduction = Reduction.Sum };
                (LossResult a, LossResult b) = (one.Run(call, constantKeys), two.Run(call with { Reduction = Reduction.None }, constantKeys));
                float scale = threads == 1 ? 0 : 1e-5f;
                Assert.That(a.Loss, Is.EqualTo(b.Loss).Within(1e-6 * b.Loss));
                Assert.That(a.GradTemperature, Is.EqualTo(b.GradTemperature).Within(scale * Math.Abs(b.GradTemperature)));
                Assert.That(a.GradBias, Is.EqualTo(b.GradBias).Within(1e-6 * Math.Abs(b.GradBias)));
                Same(one.GradEmbeddings, two.GradEmbeddings, scale);
                if (!constantKeys) Same(one.GradKeys, two.GradKeys, scale);
            }
        }
        finally { Device.Cpu.Threads = before; }
    }

    /// <summary>All labels alike: no row has a negative, so none counts, and its pair draws nothing together.</summary>
    [Test]
    public void SigLip_without_a_negative_has_no_loss_and_no_gradient([Values] Reduction reduction, [Values(0.1f, 0.01f)] float temperature, [Values(1, 40)] int rows)
    {
        Inputs on = new(LossKind.SigLip, rows, rows + 9, 33);
        on.Labels = [.. Enumerable.Repeat(3, rows + 9)];
        on.GradEmbeddings.AsSpan().Fill(1);
        LossResult result = on.Run(on.Call(temperature) with { Reduction = reduction });
        Assert.That(result, Is.EqualTo(new LossResult(0, 0, 0)));
        Assert.That(on.GradEmbeddings.Concat(on.GradKeys), Is.All.Zero);
    }

    private static void Same(float[] a, float[] b, float scale)
    {
        float within = scale * b.Select(Math.Abs).DefaultIfEmpty().Max();
        Assert.That(b.Any(x => x != 0), Is.EqualTo(b.Length > 0));
        Assert.That(a, Is.EqualTo(b).Within(within));
    }

    [Test]
    public void Similarities_are_kept_where_all_of_them_have_room()
    {
        long Bytes(LossCall call, long most) => (call with { MostKeptBytes = most }).SavedBytes(Device.Cpu);
        LossCall clip = new(LossKind.Clip, 4096, 4096, 128, 0.1f), ntXent = new(LossKind.NtXent, 4096, 0, 128, 0.1f);
        long all = 4L * 4096 * 4096;
        Assert.Multiple(() =>
        {
            Assert.That(Bytes(clip, all) - Bytes(clip, 0), Is.EqualTo(all));
            Assert.That(Bytes(clip, all - 1), Is.EqualTo(Bytes(clip, 0)));
            Assert.That(clip.SavedBytes(Device.Cpu), Is.EqualTo(Bytes(clip, all)), "64 MiB unless set");
            Assert.That(Bytes(ntXent, long.MaxValue) - Bytes(ntXent, 0), Is.EqualTo(all / 2 + 4 * 4096 * 64), "the triangle, with tiles of 128 rows whole on the diagonal");
            Assert.That(Bytes(clip with { WantsGradient = false }, all), Is.EqualTo(Bytes(clip with { WantsGradient = false }, 0)));
            foreach (LossCall other in new[] { clip with { Normalize = false }, new(LossKind.Clip, 64, 64, 31, 0.1f) })
                Assert.That(Bytes(other, all), Is.EqualTo(Bytes(other, 0)));
            Assert.That(() => Bytes(clip, -1), Throws.ArgumentException.With.Message.Contains("MostKeptBytes is -1"));
        });
    }

    /// <summary>A host that asked once and changes τ as it goes must not write past what it was told.</summary>
    [Test]
    public void Memory_does_not_depend_on_the_temperature([ValueSource(nameof(KindsOfOneMemory))] LossKind kind, [Values] Reduction reduction)
    {
        LossCall call = new(kind, 64, 64, 64, 0.01f) { Labels = 4096, Reduction = reduction };
        foreach (LossCall other in new[] { call with { Temperature = 0.1f }, call with { TemperatureAt = 4096 } })
            foreach (Device device in (Device[])[Device.Cpu, TestDevice.Cuda])
            {
                Assert.That(other.SavedBytes(device), Is.EqualTo(call.SavedBytes(device)), device.ToString());
                Assert.That(other.WorkspaceBytes(device), Is.EqualTo(call.WorkspaceBytes(device)), device.ToString());
            }
    }

    [Test]
    public void Backward_of_what_wanted_no_gradient_is_refused([ValueSource(nameof(Kinds))] LossKind kind)
    {
        LossCall call = new(kind, 64, 64, 64, 0.1f) { Labels = 4096, WantsGradient = false, GradLoss = 4096, Saved = 4096, Workspace = 4096, GradEmbeddings = new(4096, 64) };
        foreach (Device device in (Device[])[Device.Cpu, TestDevice.Cuda])
            Assert.That(() => call.Backward(device), Throws.ArgumentException.With.Message.Contains("WantsGradient"));
    }

    [TestCase(1), TestCase(2), TestCase(3)]
    public void Constant_keys_are_swept_once_with_the_same_result(int threads)
    {
        int before = Device.Cpu.Threads;
        try
        {
            Device.Cpu.Threads = threads;
            const int rows = 150, columns = 900, dim = 24;
            Inputs on = new(LossKind.InfoNce, rows, columns, dim);
            LossResult both = on.Run(0.1f);
            float[] expected = [.. on.GradEmbeddings], gradient = new float[rows * dim], again = new float[rows * dim];
            LossResult Sweep(Span<float> to) => on.Call(0.1f).Run(new() { Embeddings = on.Embeddings, Keys = on.Keys, GradEmbeddings = to });
            LossResult swept = Sweep(gradient);
            Assert.That(swept.Loss, Is.EqualTo(both.Loss).Within(1e-6));
            Assert.That(swept.GradTemperature, Is.EqualTo(both.GradTemperature).Within(1e-5 * Math.Abs(both.GradTemperature)));
            double scale = Math.Sqrt(expected.Sum(g => (double)g * g) / expected.Length);
            for (int e = 0; e < expected.Length; e++) Assert.That(gradient[e], Is.EqualTo(expected[e]).Within(1e-5 * scale), $"element {e}");
            for (int run = 0; run < 5; run++)
            {
                Assert.That(Sweep(again), Is.EqualTo(swept));
                Assert.That(again, Is.EqualTo(gradient));
            }
            // without any gradient, the same loss to the bit
            Assert.That(Sweep([]).Loss, Is.EqualTo(swept.Loss));
        }
        finally { Device.Cpu.Threads = before; }
    }

    [Test]
    public void A_call_used_on_addresses_before_runs_on_spans()
    {
        const int Rows = 300, Dim = 64;
        float[] images = Tensor.RandomNormal(new(Rows, Dim), seed: 1).ToArray(), texts = Tensor.RandomNormal(new(Rows, Dim), seed: 2).ToArray();
        float[] Gradients(nint gradLoss)
        {
            float[] ofImages = new float[Rows * Dim], ofTexts = new float[Rows * Dim];
            var call = new LossCall(LossKind.Clip, Rows, Rows, Dim, 0.07f) { GradLoss = gradLoss };
            call.Run(new() { Embeddings = images, Keys = texts, GradEmbeddings = ofImages, GradKeys = ofTexts });
            return [.. ofImages, .. ofTexts];
        }
        Assert.That(Gradients(gradLoss: 4096), Is.EqualTo(Gradients(gradLoss: 0)));
        foreach (Device device in (Device[])[Device.Cpu, TestDevice.Cuda])
            Assert.That(new LossCall(LossKind.Clip, Rows, Rows, Dim, 0.07f) { GradLoss = 4096 }.WorkspaceBytes(device),
                Is.EqualTo(new LossCall(LossKind.Clip, Rows, Rows, Dim, 0.07f).WorkspaceBytes(device)), "room for gradients whose addresses come later");
    }

    [Test]
    public void A_queue_costs_no_memory_of_its_size()
    {
        LossCall moco = new(LossKind.Moco, 256, 65536, 128, 0.1f), keys = new(LossKind.InfoNce, 256, 65536, 128, 0.1f) { WantsKeysGradient = false };
        foreach (LossCall call in new[] { moco, keys })
        {
            // per thread its gradient sums (128 KiB) and scratch (0.5 MiB), and a label for each column
            long bytes = call.SavedBytes(Device.Cpu) + call.WorkspaceBytes(Device.Cpu);
            Assert.That(bytes, Is.LessThan((1 + Device.Cpu.Threads) * (1L << 20)), call.Kind.ToString());
        }
        keys.WantsKeysGradient = true;
        Assert.That(keys.SavedBytes(Device.Cpu), Is.GreaterThan(65536L * 128 * 4));
    }

    [Test]
    public void Bad_arguments_are_named_in_one_line()
    {
        using Tensor four = Tensor.Zeros(new(4, 3)), five = Tensor.Zeros(new(5, 3)), wide = Tensor.Zeros(new(4, 4)), two = Tensor.Zeros(new(2, 3)), floats = Tensor.Zeros(new(4));
        using Tensor labels = Tensor.From<int>([1, 2, 3], new(3));
        Assert.Multiple(() =>
        {
            Assert.That(() => InfoNce.Loss(five, four, 0.1f), Throws.ArgumentException.With.Message.Contains("5 rows but only 4 keys"));
            Assert.That(() => InfoNce.Loss(four, wide, 0.1f), Throws.ArgumentException.With.Message.Contains("[4, 4]"));
            Assert.That(() => Clip.Loss(four, five, 0.1f), Throws.ArgumentException.With.Message.Contains("5 texts"));
            Assert.That(() => Dcl.Loss(two, 0.1f), Throws.ArgumentException.With.Message.Contains("no negatives"));
            Assert.That(() => SupCon.Loss(four, labels, 0.1f), Throws.ArgumentException.With.Message.Contains("expected 4"));
            Assert.That(() => SupCon.Loss(four, floats, 0.1f), Throws.ArgumentException.With.Message.Contains("Int32"));
            Assert.That(() => Moco.Loss(four, five, four, 0.1f), Throws.ArgumentException.With.Message.Contains("one key per query"));
            Assert.That(() => SigLip.Loss(four, four, 0.1f, float.NaN), Throws.ArgumentException.With.Message.Contains("bias"));
            foreach (float temperature in new[] { 0, -1, float.NaN, float.PositiveInfinity })
                Assert.That(() => Clip.Loss(four, four, temperature), Throws.ArgumentException.With.Message.Contains("temperature"));
            Assert.That(() => new LossCall(LossKind.Clip, 4, 4, 3, 0.1f).Run(new() { Embeddings = new float[12], Keys = new float[9] }), Throws.ArgumentException.With.Message.Contains("12 elements"));
            Assert.That(() => new LossCall(LossKind.NtXent, 4, 6, 3, 0.1f), Throws.ArgumentException.With.Message.Contains("6 columns"));
            Assert.That(() => new LossCall(LossKind.Clip, int.MaxValue, int.MaxValue, int.MaxValue, 0.1f).WorkspaceBytes(Device.Cpu), Throws.ArgumentException.With.Message.Contains("elements"));
            Assert.That(() => NtXent.Loss(null!), Throws.ArgumentNullException);
            Assert.That(() => Tensor.RandomNormal(new(1 << 16, 1 << 14), 1), Throws.ArgumentException.With.Message.Contains("[65536, 16384]"));
            Assert.That(() => new LossCall(LossKind.Clip, 4, 4, 3, 0.1f).Forward(Device.Cpu), Throws.ArgumentException.With.Message.Contains("embeddings"));
            LossCall unannounced = new(LossKind.InfoNce, 4, 4, 3, 0.1f) { WantsKeysGradient = false, GradLoss = 64, Saved = 64, Workspace = 64, GradKeys = new(64, 3) };
            Assert.That(() => unannounced.Backward(Device.Cpu), Throws.ArgumentException.With.Message.Contains("WantsKeysGradient"));
        });
    }

    private static void RoundRows(float[] matrix, int dim)
    {
        for (int start = 0; start < matrix.Length; start += dim)
        {
            Span<float> row = matrix.AsSpan(start, dim);
            double norm = 0;
            foreach (float v in row) norm += (double)v * v;
            foreach (ref float v in row)
            {
                uint bits = BitConverter.SingleToUInt32Bits((float)(v / Math.Sqrt(norm)));
                v = BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
            }
        }
    }

    /// <summary>Random inputs of a kind and room for its gradients.</summary>
    private sealed class Inputs
    {
        private readonly LossKind _kind;
        private readonly int _rows, _columns, _dim;

        internal Inputs(LossKind kind, int rows, int columns, int dim)
        {
            bool withinBatch = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;
            (_kind, _rows, _columns, _dim) = (kind, rows, withinBatch ? 0 : kind == LossKind.Clip ? rows : columns, dim);
            Embeddings = Normal(rows * dim, 1);
            Keys = Normal(_columns * dim, 2);
            Positives = Normal(kind == LossKind.Moco ? rows * dim : 0, 3);
            Labels = kind == LossKind.SupCon ? [.. Enumerable.Range(0, rows).Select(i => i % 7)] : [];
            GradEmbeddings = new float[rows * dim];
            GradKeys = new float[kind == LossKind.Moco ? 0 : _columns * dim];
        }

        internal float[] Embeddings { get; }
        internal float[] Keys { get; }
        internal float[] Positives { get; }
        internal int[] Labels { get; set; }
        internal float[] GradEmbeddings { get; }
        internal float[] GradKeys { get; }

        internal LossCall Call(float temperature) => new(_kind, _rows, _columns, _dim, temperature) { Bias = _kind == LossKind.SigLip ? -2 : 0 };

        internal LossResult Run(float temperature) => Run(Call(temperature));

        internal LossResult Run(LossCall call, bool constantKeys = false) => call.Run(new()
        {
            Embeddings = Embeddings,
            Keys = Keys,
            Positives = Positives,
            Labels = Labels,
            GradEmbeddings = GradEmbeddings,
            GradKeys = constantKeys ? [] : GradKeys,
        });

        private static float[] Normal(int count, ulong seed)
        {
            var random = new PhiloxStream(seed, 12);
            var values = new float[count];
            foreach (ref float value in values.AsSpan()) value = random.NextNormal();
            return values;
        }
    }
}
