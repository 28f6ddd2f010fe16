using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>Calls on addresses: what is wrong is refused before any work, by the constructor where it can know, with its name.</summary>
[TestFixture]
internal sealed class CallArgumentTests
{
    private static Device[] Devices => [Device.Cpu, TestDevice.Cuda];

    private static void Refused(Action action, params string[] words)
    {
        string message = Assert.Catch<ArgumentException>(() => action())!.Message;
        foreach (string word in words) Assert.That(message, Does.Contain(word));
    }

    [Test]
    public void A_loss_call_is_not_made_of_what_no_loss_has()
    {
        Refused(() => _ = new LossCall((LossKind)17, 4, 4, 8, 0.5f), "no such loss", "17");
        Refused(() => _ = new LossCall(LossKind.NtXent, 5, 0, 8, 0.5f), "nt-xent", "[5, 8]", "even");
        Refused(() => _ = new LossCall(LossKind.NtXent, -2, 0, 8, 0.5f), "[-2, 8]");
        Refused(() => _ = new LossCall(LossKind.SupCon, 4, 3, 8, 0.5f), "supcon", "3 columns");
        Refused(() => _ = new LossCall(LossKind.SupCon, 0, 0, 8, 0.5f), "[0, 8]");
        Refused(() => _ = new LossCall(LossKind.Dcl, 2, 2, 8, 0.5f), "no negatives");
        Refused(() => _ = new LossCall(LossKind.Clip, 4, 5, 8, 0.5f), "4 images and 5 texts");
        Refused(() => _ = new LossCall(LossKind.InfoNce, 4, 3, 8, 0.5f), "only 3 keys");
        Refused(() => _ = new LossCall(LossKind.SigLip, 4, -4, 8, 0.5f), "only -4 keys");
        Refused(() => _ = new LossCall(LossKind.Moco, 4, 0, 8, 0.5f), "queue is empty");
        Refused(() => _ = new LossCall(LossKind.InfoNce, 4, 4, 0, 0.5f), "[4, 0]");
        Refused(() => _ = new LossCall(LossKind.Moco, 1, int.MaxValue, int.MaxValue, 0.5f), "2⁴⁴");
        foreach (float temperature in new[] { 0, -1, float.NaN, float.PositiveInfinity, float.Epsilon })
            Refused(() => _ = new LossCall(LossKind.Clip, 4, 4, 8, temperature), "temperature");
        Assert.That(new LossCall(LossKind.Dcl, 4, 0, 8, 0.5f).Columns, Is.EqualTo(4));
    }

    [Test]
    public void An_output_of_a_loss_on_spans_has_memory_of_its_own()
    {
        float[] memory = new float[64];
        for (int i = 0; i < memory.Length; i++) memory[i] = MathF.Sin(i + 1);
        var call = new LossCall(LossKind.Moco, 4, 4, 4, 0.5f) { Reduction = Reduction.None };
        const int Embeddings = 0, Keys = 16, Positives = 32, Gradient = 48;
        float[] losses = new float[4], upstream = [1, 2, 3, 4], before = [.. memory];
        int[] labels = [0, 1, 2, 3, 4, 5, 6, 7];
        foreach (int at in new[] { Embeddings + 13, Keys, Positives + 2, Gradient + 15 - 3 })
            Assert.That(() => call.Run(Spans(memory.AsSpan(at, 4), memory.AsSpan(Gradient, 16))), Throws.ArgumentException.With.Message.Contains("overlap"), $"{at}");
        Refused(() => call.Run(Spans(upstream, default)), "losses", "overlap");
        Refused(() => call.Run(Spans(System.Runtime.InteropServices.MemoryMarshal.Cast<int, float>(labels.AsSpan(4)), default)), "losses", "overlap");
        foreach (int at in new[] { Embeddings, Keys + 1, Positives - 1 })
            Refused(() => call.Run(Spans(losses, memory.AsSpan(at, 16))), "gradient of the embeddings", "overlap");
        Assert.That(memory, Is.EqualTo(before));
        Assert.That(() => call.Run(Spans(losses, memory.AsSpan(Gradient, 16))), Throws.Nothing);

        LossSpans Spans(Span<float> rows, Span<float> gradient) => new()
        {
            Embeddings = memory.AsSpan(Embeddings, 16),
            Keys = memory.AsSpan(Keys, 16),
            Positives = memory.AsSpan(Positives, 16),
            Labels = labels,
            GradLosses = upstream,
            Losses = rows,
            GradEmbeddings = gradient,
        };
    }

    [Test]
    public void What_a_loss_call_gets_later_is_refused_where_memory_is_asked_for()
    {
        foreach (Device device in Devices)
        {
            Refused(() => default(LossCall).WorkspaceBytes(device), "[0, 0]");
            Refused(() => new LossCall(LossKind.Clip, 4, 4, 8, 0.5f) { Temperature = float.NaN }.SavedBytes(device), "temperature");
            Refused(() => new LossCall(LossKind.SigLip, 4, 4, 8, 0.5f) { Bias = float.NegativeInfinity }.SavedBytes(device), "bias");
            Refused(() => new LossCall(LossKind.SupCon, 4, 4, 8, 0.5f).WorkspaceBytes(device), "labels");
            Refused(() => new LossCall(LossKind.Clip, 4, 4, 8, 0.5f) { Precision = (Precision)9 }.SavedBytes(device), "precision 9");
            Refused(() => new LossCall(LossKind.Clip, 4, 4, 8, 0.5f) { Reduction = (Reduction)9 }.SavedBytes(device), "reduction 9");
            Refused(() => new LossCall(LossKind.Clip, 4, 4, 8, 0.5f) { Layout = (PairLayout)9 }.SavedBytes(device), "layout 9");
            Assert.That(() => new LossCall(LossKind.Clip, 4, 4, 8, 0.5f) { Temperature = float.NaN, TemperatureAt = 4096 }.SavedBytes(device), Throws.Nothing, "τ is on the device");
        }
    }

    [Test]
    public void A_top_k_call_names_what_cannot_be()
    {
        Refused(() => _ = new CosineTopKCall(-1, 4, 8, 1), "-1 queries");
        Refused(() => _ = new CosineTopKCall(4, 0, 8, 1), "0 keys");
        Refused(() => _ = new CosineTopKCall(4, 4, 0, 1), "0 columns");
        Refused(() => _ = new CosineTopKCall(4, 4, 8, 0), "k is 0");
        Refused(() => _ = new CosineTopKCall(4, 4, 8, 5), "k is 5", "1 to 4");
        Refused(() => _ = new CosineTopKCall(1, int.MaxValue, int.MaxValue, 1), "2⁴⁴");
        foreach (Device device in Devices)
        {
            CosineTopKCall good = new(4, 4, 8, 2) { Queries = new(4096, 8), Keys = new(8192, 8), Indices = 4096, Similarities = 4096, Workspace = 4096 };
            Refused(() => default(CosineTopKCall).WorkspaceBytes(device), "0 keys");
            Refused(() => (good with { Precision = (Precision)9 }).WorkspaceBytes(device), "precision 9");
            Refused(() => (good with { ExcludeSelf = true, Queries = default }).Run(device), "queries are at 0");
            Refused(() => (good with { Queries = new(4098, 8) }).Run(device), "queries is 1002", "multiple of 4");
            Refused(() => (good with { Keys = new(4097, 8, DType.BFloat16) }).Run(device), "keys is 1001", "multiple of 2");
            Refused(() => (good with { Keys = new(4096, 8, DType.Int32) }).Run(device), "keys", "Int32");
            Refused(() => (good with { Keys = new(4096, 7) }).Run(device), "keys", "stride of 7");
            Refused(() => (good with { Indices = 4098 }).Run(device), "Indices", "multiple of 4");
            Refused(() => (good with { Similarities = 4099 }).Run(device), "Similarities", "multiple of 4");
            Refused(() => (good with { Workspace = 4097 }).Run(device), "Workspace", "multiple of 4");
            Refused(() => (good with { Workspace = 0 }).Run(device), "Workspace");
        }
        Refused(() => new CosineTopKCall(4, 4, 8, 2) { Queries = new(4096, 8), Keys = new(8192, 8), Indices = 4096, Similarities = 4096, Workspace = 4096 + 64 }.Run(TestDevice.Cuda), "Workspace", "multiple of 256");
    }

    [Test]
    public void A_similarity_call_names_what_cannot_be()
    {
        Refused(() => _ = new CosineSimilarityCall(0, 4, 8), "0 and 4 rows");
        Refused(() => _ = new CosineSimilarityCall(4, -1, 8), "4 and -1 rows");
        Refused(() => _ = new CosineSimilarityCall(4, 4, 0), "0 columns");
        Refused(() => _ = new CosineSimilarityCall(4, int.MaxValue, int.MaxValue), "2⁴⁴");
        foreach (Device device in Devices)
        {
            CosineSimilarityCall good = new(4, 6, 8)
            {
                A = new(4096, 8),
                B = new(8192, 8),
                Similarities = 4096,
                Saved = 4096,
                Workspace = 4096,
                GradSimilarities = 4096,
                GradA = new(4096, 8),
                GradB = new(4096, 8),
            };
            Refused(() => default(CosineSimilarityCall).SavedBytes(device), "at least one");
            Refused(() => (good with { WithItself = true }).WorkspaceBytes(device), "b is a");
            Refused(() => (good with { Precision = (Precision)9 }).SavedBytes(device), "precision 9");
            Refused(() => (good with { A = new(4098, 8) }).Forward(device), "of a is 1002", "multiple of 4");
            Refused(() => (good with { B = new(4097, 8, DType.BFloat16) }).Forward(device), "of b is 1001", "multiple of 2");
            Refused(() => (good with { Similarities = 4098 }).Forward(device), "Similarities", "multiple of 4");
            Refused(() => (good with { Saved = 4098 }).Forward(device), "Saved");
            Refused(() => (good with { Saved = 4098 }).Backward(device), "Saved");
            Refused(() => (good with { Workspace = 4097 }).Backward(device), "Workspace", "multiple of");
            Refused(() => (good with { GradSimilarities = 4097 }).Backward(device), "GradSimilarities");
            Refused(() => (good with { GradA = new(4097, 8) }).Backward(device), "GradA");
            Refused(() => (good with { GradB = new(4098, 8) }).Backward(device), "GradB");
            Refused(() => (good with { GradB = new(4096, 7) }).Backward(device), "stride of 7");
        }
        CosineSimilarityCall onCuda = new(4, 6, 8) { A = new(4096, 8), B = new(8192, 8), Similarities = 4096, Saved = 4096 + 64, GradSimilarities = 4096, Workspace = 4096 };
        Refused(() => onCuda.Forward(TestDevice.Cuda), "Saved", "multiple of 256");
        Refused(() => (onCuda with { Saved = 4096, Workspace = 4096 + 128 }).Backward(TestDevice.Cuda), "Workspace", "multiple of 256");
    }
}
