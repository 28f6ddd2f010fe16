using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using KernelContrast.Datasets;

namespace KernelContrast.Cli.Tests;

/// <summary>Every kind of <c>loss</c>: known values, how kinds relate, what each needs and refuses.</summary>
[TestFixture]
internal sealed class LossKindTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Create() => _folder = new();

    [TearDown]
    public void Delete() => _folder.Dispose();

    [TestCase("nt-xent", 15), TestCase("dcl", 14), TestCase("info-nce", 16), TestCase("clip", 16), TestCase("moco", 25)]
    public void A_collapsed_batch_costs_a_logarithm(string kind, int of)
    {
        string[] files = Files(kind, Enumerable.Repeat(1f, 16 * 5).ToArray(), Enumerable.Repeat(2f, 16 * 5).ToArray(), Enumerable.Repeat(3f, 24 * 5).ToArray(), 5);
        Assert.That(Number(Line([kind, .. files]), "loss"), Is.EqualTo(Math.Log(of)).Within(1e-5));
        Assert.That(Number(Line([kind, "--temperature", "0.01", .. files]), "loss"), Is.EqualTo(Math.Log(of)).Within(1e-5));
    }

    [Test]
    public void Clip_is_the_mean_of_two_info_nce_and_its_gradients_too()
    {
        float[] images = Normal(20 * 6, 1), texts = Normal(20 * 6, 2);
        string i = Write("i.npy", images, 6), t = Write("t.npy", texts, 6);
        double clip = Number(Line("clip", "--embeddings", i, "--keys", t, "--temperature", "0.07", "--gradients", _folder["c.safetensors"]), "loss");
        double rows = Number(Line("info-nce", "--embeddings", i, "--keys", t, "--temperature", "0.07", "--gradients", _folder["r.safetensors"]), "loss");
        double columns = Number(Line("info-nce", "--embeddings", t, "--keys", i, "--temperature", "0.07", "--gradients", _folder["k.safetensors"]), "loss");
        Assert.That(clip, Is.EqualTo((rows + columns) / 2).Within(1e-5));
        foreach ((string of, string mine, string theirs) in new[] { ("embeddings", "embeddings", "keys"), ("keys", "keys", "embeddings"), ("temperature", "temperature", "temperature") })
        {
            float[] a = Gradient("c", of), b = Gradient("r", mine), c = Gradient("k", theirs);
            for (int e = 0; e < a.Length; e++) Assert.That(a[e], Is.EqualTo((b[e] + c[e]) / 2).Within(2e-5 * a.Max(Math.Abs) + 1e-7), of);
        }
    }

    [Test]
    public void Siglip_is_the_sum_of_its_sigmoids_over_the_rows()
    {
        const double tau = 0.25, bias = -1.5;
        float[] images = Normal(7 * 3, 3), texts = Normal(9 * 3, 4);
        double expected = 0, gradBias = 0, gradTau = 0;
        for (int i = 0; i < 7; i++)
            for (int j = 0; j < 9; j++)
            {
                double s = Cosine(images, i, texts, j, 3), y = i == j ? 1 : -1, x = s / tau + bias, w = -y / (1 + Math.Exp(y * x)) / 7;
                expected += Math.Log(1 + Math.Exp(-y * x)) / 7;
                gradBias += w;
                gradTau -= w * s / (tau * tau);
            }
        JsonElement line = Line("siglip", "--embeddings", Write("i.npy", images, 3), "--keys", Write("t.npy", texts, 3), "--temperature", "0.25", "--bias", "-1.5",
            "--gradients", _folder["g.safetensors"]);
        Assert.That(Number(line, "loss"), Is.EqualTo(expected).Within(1e-5));
        Assert.That(Gradient("g", "bias")[0], Is.EqualTo(gradBias).Within(1e-5));
        Assert.That(Gradient("g", "temperature")[0], Is.EqualTo(gradTau).Within(1e-5 * Math.Max(1, Math.Abs(gradTau))));
        Assert.That(Gradient("g", "keys"), Has.Length.EqualTo(27));
    }

    [Test]
    public void Rows_without_partner_or_negatives_do_not_count()
    {
        float[] h = Normal(8 * 4, 5);
        string file = Write("h.npy", h, 4), g = _folder["g.safetensors"];
        double pairs = Number(Line("nt-xent", "--embeddings", file), "loss");
        // pairs by label are the pairs of NT-Xent
        Assert.That(Number(Line("supcon", "--embeddings", file, "--labels", Labels(0, 1, 2, 3, 0, 1, 2, 3)), "loss"), Is.EqualTo(pairs).Within(1e-5));
        double[] losses = [.. Line("supcon", "--embeddings", file, "--labels", Labels(7, 7, 5, -1, -1, 7, 3, 4), "--reduction", "none").GetProperty("losses").EnumerateArray().Select(l => l.GetDouble())];
        Assert.That(losses.Select(l => l != 0), Is.EqualTo(new[] { true, true, false, false, false, true, false, false }));
        Assert.That(Number(Line("supcon", "--embeddings", file, "--labels", Labels(7, 7, 5, -1, -1, 7, 3, 4)), "loss"), Is.EqualTo(losses.Sum() / 3).Within(1e-5));
        Assert.That(Number(Line("supcon", "--embeddings", file, "--labels", Labels(0, 1, 2, 3, 4, 5, 6, 7), "--gradients", g), "loss"), Is.Zero);
        Assert.That(Gradient("g", "embeddings"), Has.All.Zero);
        Assert.That(Number(Line("nt-xent", "--embeddings", file, "--labels", Labels(1, 1, 1, 1, 1, 1, 1, 1), "--gradients", g), "loss"), Is.Zero);
        Assert.That(Gradient("g", "embeddings"), Has.All.Zero);
    }

    [Test]
    public void Reductions_agree_and_losses_can_go_to_a_file()
    {
        string[] files = Files("info-nce", Normal(6 * 4, 6), Normal(6 * 4, 7), [], 4);
        double mean = Number(Line(["info-nce", .. files]), "loss"), sum = Number(Line(["info-nce", "--reduction", "sum", .. files]), "loss");
        Assert.That(sum, Is.EqualTo(6 * mean).Within(1e-5));
        JsonElement line = Line(["info-nce", "--reduction", "none", "--losses", _folder["l.npy"], .. files]);
        Assert.That(line.TryGetProperty("losses", out _), Is.False);
        NpyArray losses = NpyFile.Read(_folder["l.npy"]);
        Assert.That(losses.Shape, Is.EqualTo(new Shape(6)));
        Assert.That(losses.ToSingles().Sum(), Is.EqualTo(sum).Within(1e-5));
        Assert.That(Number(Line(["info-nce", "--scale-2tau", "--temperature", "0.2", .. files]), "loss"),
            Is.EqualTo(0.4 * Number(Line(["info-nce", "--temperature", "0.2", .. files]), "loss")).Within(1e-5));
    }

    [TestCase("tf32", 1e-3), TestCase("bf16", 1e-2)]
    public void Precisions_round_as_much_as_they_say(string precision, double share)
    {
        string[] files = Files("clip", Normal(40 * 32, 8), Normal(40 * 32, 9), [], 32);
        double exact = Number(Line(["clip", .. files]), "loss"), rounded = Number(Line(["clip", "--precision", precision, .. files]), "loss");
        Assert.That(rounded, Is.EqualTo(exact).Within(share).And.Not.EqualTo(exact));
    }

    [Test]
    public void Rows_that_are_not_normalised_are_taken_as_they_are()
    {
        float[] h = [1, 0, 0, 2, 3, 0, 0, 1];
        // s: (0,2) 3, (1,3) 2, all others 0; self excluded
        double expected = (2 * (Math.Log(Math.Exp(3) + 2) - 3) + 2 * (Math.Log(Math.Exp(2) + 2) - 2)) / 4;
        Assert.That(Number(Line("nt-xent", "--no-normalize", "--temperature", "1", "--embeddings", Write("h.npy", h, 2)), "loss"), Is.EqualTo(expected).Within(1e-5));
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        string four = Write("4.npy", Normal(4 * 3, 1), 3), five = Write("5.npy", Normal(5 * 3, 2), 3), wide = Write("w.npy", Normal(4 * 4, 3), 4), two = Write("2.npy", Normal(2 * 3, 3), 3);
        Tool.Refuses(["loss", "info-nce", "--embeddings", four], "--keys");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", four, "--keys", four], "--keys");
        Tool.Refuses(["loss", "info-nce", "--embeddings", five, "--keys", four], "5 rows", "4 keys");
        Tool.Refuses(["loss", "info-nce", "--embeddings", four, "--keys", wide], "[4, 3]", "[4, 4]");
        Tool.Refuses(["loss", "clip", "--embeddings", four, "--keys", five], "4 images", "5 texts");
        Tool.Refuses(["loss", "clip", "--embeddings", four, "--keys", four, "--bias", "1"], "--bias");
        Tool.Refuses(["loss", "clip", "--embeddings", four, "--keys", four, "--layout", "halves"], "--layout");
        Tool.Refuses(["loss", "clip", "--embeddings", four, "--keys", four, "--scale-2tau"], "--scale-2tau");
        Tool.Refuses(["loss", "moco", "--embeddings", four, "--keys", four], "--queue");
        Tool.Refuses(["loss", "moco", "--embeddings", four, "--keys", five, "--queue", four], "one key per query");
        Tool.Refuses(["loss", "dcl", "--embeddings", two], "4 or more rows");
        Tool.Refuses(["loss", "supcon", "--embeddings", four], "--labels");
        Tool.Refuses(["loss", "supcon", "--embeddings", four, "--labels", Labels(1, 2, 3)], "expected 4");
        Tool.Refuses(["loss", "supcon", "--embeddings", four, "--labels", four], "whole numbers");
        foreach (long label in new[] { 1L << 31, int.MinValue - 1L, long.MaxValue })
            Tool.Refuses(["loss", "supcon", "--embeddings", four, "--labels", Int64Labels(7, int.MaxValue, label, -1)],
                $"{_folder["labels.npy"]}: the label of row 2 is {label}, expected -2147483648 to 2147483647. Number the classes from 0");
        Tool.Refuses(["plot", "--embeddings", four, "--labels", Int64Labels(7, 1L << 40, 0, -1), "--method", "pca"],
            $"{_folder["labels.npy"]}: expected classes of 0 to 999999, or -1 for none, found {1L << 40} in row 1");
        Tool wide64 = Tool.Run("loss", "supcon", "--embeddings", four, "--labels", Int64Labels(int.MaxValue, int.MaxValue, int.MinValue, -1));
        Assert.That(wide64.ExitCode, Is.Zero, wide64.Error);
        Tool.Refuses(["loss", "supcon", "--embeddings", four, "--labels", _folder["none.npy"]], "no such file");
        Tool.Refuses(["loss", "clip", "--embeddings", four, "--keys", _folder["none.npy"]], "no such file", "--keys");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", four, "--losses", _folder["l.npy"]], "--reduction none");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", four, "--precision", "fp8"], "fp8");
        Tool.Refuses(["loss", "siglip", "--embeddings", four, "--keys", four, "--bias", "NaN"], "--bias");
    }

    /// <summary>More rows than a tile has, and a ragged depth.</summary>
    [Test]
    public void Devices_agree(
        [Values("nt-xent", "dcl", "supcon", "info-nce", "clip", "siglip", "moco")] string kind,
        [Values("f32", "tf32", "bf16")] string precision)
    {
        // Of the largest element: float32 by the contract; the others' weights are rounded too, where products are.
        double share = precision switch { "f32" => 2e-5, "tf32" => 2e-3, _ => 1.5e-2 };
        string[] files = Files(kind, Normal(70 * 37, 11), Normal(70 * 37, 12), Normal(90 * 37, 13), 37);
        if (kind == "supcon") files = [.. files, "--labels", Labels([.. Enumerable.Range(0, 70).Select(i => i * i % 11)])];
        if (kind == "siglip") files = [.. files, "--bias", "-2"];
        string[] call = [kind, "--temperature", "0.1", "--precision", precision, .. files];
        double here = Number(Line([.. call, "--device", "cpu", "--gradients", _folder["a.safetensors"]]), "loss");
        double there = Number(Line([.. call, "--device", "cuda-emulated", "--gradients", _folder["b.safetensors"]]), "loss");
        Assert.That(there, Is.EqualTo(here).Within(share / 2 * Math.Max(1, Math.Abs(here))));
        string[] keys = kind switch
        {
            "info-nce" or "clip" => ["embeddings", "keys", "temperature"],
            "siglip" => ["embeddings", "keys", "temperature", "bias"],
            _ => ["embeddings", "temperature"],
        };
        foreach (string key in keys)
        {
            float[] a = Gradient("a", key), b = Gradient("b", key);
            Assert.That(b, Has.Length.EqualTo(a.Length));
            double largest = a.Max(Math.Abs);
            Assert.That(largest, Is.GreaterThan(0), key);
            for (int e = 0; e < a.Length; e++) Assert.That(b[e], Is.EqualTo(a[e]).Within(share * largest), $"{key}[{e}]");
        }
    }

    /// <summary>Labels mask (or, for supcon, pair), rows as they are, each row's loss: the same on both devices, and each option does something.</summary>
    [Test]
    public void Labels_raw_rows_and_reductions_reach_both_devices([Values("nt-xent", "dcl", "supcon", "info-nce", "clip", "siglip", "moco")] string kind)
    {
        string[] files = Files(kind, Normal(10 * 6, 21), Normal(10 * 6, 22), Normal(14 * 6, 23), 6);
        // The first five rows share a label and see negatives of others; the last has none.
        int[] labels = [.. Enumerable.Range(0, kind == "moco" ? 24 : 10).Select(i => i < 5 ? 0 : i == 9 ? -1 : i % 3)];
        string[] call = [kind, .. files, "--temperature", "2", "--no-normalize", "--labels", Labels(labels)];
        double[] here = Losses("cpu"), there = Losses("cuda-emulated");
        Assert.That(here, Has.Length.EqualTo(10).And.None.NaN);
        for (int i = 0; i < 10; i++) Assert.That(there[i], Is.EqualTo(here[i]).Within(1e-5 * Math.Max(1, Math.Abs(here[i]))), $"row {i}");
        int counted = here.Count(l => l != 0);
        Assert.That(counted, Is.EqualTo(kind == "supcon" ? 8 : 10), "of supcon, rows with a partner");
        foreach (string device in new[] { "cpu", "cuda-emulated" })
        {
            Assert.That(Number(Line([.. call, "--reduction", "sum", "--device", device]), "loss"), Is.EqualTo(here.Sum()).Within(2e-5 * here.Sum()), device);
            Assert.That(Number(Line([.. call, "--device", device]), "loss"), Is.EqualTo(here.Sum() / counted).Within(2e-5 * here.Sum()), device);
        }
        double mean = here.Sum() / counted;
        Assert.That(Number(Line([.. call.Where(a => a != "--no-normalize")]), "loss"), Is.Not.EqualTo(mean).Within(1e-3));
        if (kind != "supcon") Assert.That(Number(Line(call[..^2]), "loss"), Is.GreaterThan(mean + 1e-3), "fewer negatives, less loss");

        double[] Losses(string device) => [.. Line([.. call, "--reduction", "none", "--device", device]).GetProperty("losses").EnumerateArray().Select(l => l.GetDouble())];
    }

    private string[] Files(string kind, float[] h, float[] keys, float[] queue, int dim) => kind switch
    {
        "nt-xent" or "dcl" or "supcon" => ["--embeddings", Write("h.npy", h, dim)],
        "moco" => ["--embeddings", Write("h.npy", h, dim), "--keys", Write("k.npy", keys, dim), "--queue", Write("q.npy", queue, dim)],
        _ => ["--embeddings", Write("h.npy", h, dim), "--keys", Write("k.npy", keys, dim)],
    };

    private string Write(string name, float[] values, int dim)
    {
        LossTests.WriteNpy(_folder[name], "<f4", MemoryMarshal.AsBytes<float>(values), values.Length / dim, dim);
        return _folder[name];
    }

    /// <summary>As NumPy writes its own whole numbers.</summary>
    private string Int64Labels(params long[] labels)
    {
        string header = $"{{'descr': '<i8', 'fortran_order': False, 'shape': ({labels.Length},), }}".PadRight(117) + "\n";
        byte[] head = [0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0, .. Encoding.ASCII.GetBytes(header)];
        File.WriteAllBytes(_folder["labels.npy"], [.. head, .. MemoryMarshal.AsBytes(labels.AsSpan())]);
        return _folder["labels.npy"];
    }

    private string Labels(params int[] labels)
    {
        NpyFile.Write(_folder["labels.npy"], labels, new Shape(labels.Length));
        return _folder["labels.npy"];
    }

    private float[] Gradient(string file, string key)
    {
        using Tensor tensor = Safetensors.Read(_folder[$"{file}.safetensors"])[key];
        return tensor.ToArray();
    }

    private static double Number(JsonElement line, string name) => line.GetProperty(name).GetDouble();

    private static JsonElement Line(params string[] arguments)
    {
        Tool run = Tool.Run(["loss", .. arguments]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        return JsonDocument.Parse(run.Output).RootElement;
    }

    private static double Cosine(float[] a, int i, float[] b, int j, int dim)
    {
        double dot = 0, aa = 0, bb = 0;
        for (int k = 0; k < dim; k++)
        {
            dot += (double)a[i * dim + k] * b[j * dim + k];
            aa += (double)a[i * dim + k] * a[i * dim + k];
            bb += (double)b[j * dim + k] * b[j * dim + k];
        }
        return dot / Math.Sqrt(aa * bb);
    }

    private static float[] Normal(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }
}
