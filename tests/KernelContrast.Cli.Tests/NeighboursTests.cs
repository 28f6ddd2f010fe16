using System.Runtime.InteropServices;
using System.Text.Json;
using KernelContrast.Datasets;

namespace KernelContrast.Cli.Tests;

/// <summary><c>neighbours</c> on files, against a full sort in double.</summary>
[TestFixture]
internal sealed class NeighboursTests
{
    private readonly TemporaryFolder _folder = new();

    [OneTimeTearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public void Neighbours_are_those_of_a_full_sort_on_every_device([Values("cpu", "cuda-emulated")] string device, [Values] bool among)
    {
        const int Rows = 70, Keys = 90, Dim = 5, K = 6;
        float[] h = Normal(Rows * Dim, 1), keys = among ? h : Normal(Keys * Dim, 2);
        string[] call = ["--embeddings", Write("h.npy", h, Dim), "--k", $"{K}", "--device", device];
        call = among ? [.. call, "--exclude-self"] : [.. call, "--keys", Write("k.npy", keys, Dim)];
        JsonElement line = Line([.. call, "--output", _folder["n.safetensors"]]);
        Dictionary<string, Tensor> found = Safetensors.Read(_folder["n.safetensors"]);
        using Tensor indices = found["indices"], similarities = found["similarities"];
        Assert.That(indices.Shape, Is.EqualTo(new Shape(Rows, K)));
        int[] index = indices.ToArray<int>();
        float[] similarity = similarities.ToArray();
        for (int row = 0; row < Rows; row++)
        {
            (double Similarity, int Key)[] best = [.. Enumerable.Range(0, keys.Length / Dim).Where(j => !(among && j == row))
                .Select(j => (Cosine(h, row, keys, j, Dim), j)).OrderByDescending(c => c.Item1).Take(K)];
            Assert.That(index[(row * K)..((row + 1) * K)], Is.EqualTo(best.Select(b => b.Key)), $"row {row}");
            Assert.That(similarity[(row * K)..((row + 1) * K)].Select(s => (double)s), Is.EqualTo(best.Select(b => b.Similarity)).Within(1e-6));
        }
        Assert.That(line.GetProperty("rows").GetInt32(), Is.EqualTo(Rows));
        Assert.That(line.GetProperty("keys").GetInt32(), Is.EqualTo(keys.Length / Dim));
        Assert.That(line.GetProperty("k").GetInt32(), Is.EqualTo(K));
        Assert.That(line.GetProperty("device").GetString(), Is.EqualTo(device));
        Assert.That(line.GetProperty("nearest_mean").GetDouble(), Is.EqualTo(Enumerable.Range(0, Rows).Average(row => similarity[row * K])).Within(1e-6));

        Line([.. call, "--output", _folder["n.npy"]]);
        NpyArray array = NpyFile.Read(_folder["n.npy"]);
        Assert.That(array.Shape, Is.EqualTo(new Shape(Rows, K)));
        Assert.That(array.ToInt32s(), Is.EqualTo(index));
    }

    [Test]
    public void What_is_not_finite_comes_first_or_is_refused()
    {
        float[] h = [1, 0, 0, 1, float.NaN, 1, 1, 1];
        string file = Write("nan.npy", h, 2);
        JsonElement line = Line("--embeddings", file, "--k", "2", "--output", _folder["nan-out.npy"]);
        Assert.That(line.GetProperty("nearest_mean").GetString(), Is.EqualTo("NaN"));
        Assert.That(NpyFile.Read(_folder["nan-out.npy"]).ToInt32s(), Is.EqualTo(new[] { 2, 0, 2, 1, 0, 1, 2, 3 }));
        Tool.Refuses(["neighbours", "--embeddings", file, "--k", "2", "--check", "--output", _folder["x.npy"]], "row 2", "NaN");
        Tool.Refuses(["neighbours", "--embeddings", Write("2.npy", [1, 2], 2), "--keys", file, "--k", "2", "--check", "--output", _folder["x.npy"]], "nan.npy", "row 2");
        Assert.That(File.Exists(_folder["x.npy"]), Is.False);
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        string four = Write("4.npy", Normal(12, 1), 3), wide = Write("w.npy", Normal(16, 3), 4), to = _folder["o.npy"];
        Tool.Refuses(["neighbours", "--embeddings", four], "--output");
        Tool.Refuses(["neighbours", "--output", to], "--embeddings");
        Tool.Refuses(["neighbours", "--embeddings", four, "--k", "5", "--output", to], "k is 5", "1 to 4");
        Tool.Refuses(["neighbours", "--embeddings", four, "--k", "4", "--exclude-self", "--output", to], "k is 4", "1 to 3");
        Tool.Refuses(["neighbours", "--embeddings", four, "--k", "0", "--output", to], "k is 0");
        Tool.Refuses(["neighbours", "--embeddings", four, "--k", "many", "--output", to], "many");
        Tool.Refuses(["neighbours", "--embeddings", four, "--keys", wide, "--k", "1", "--output", to], "[4, 3]", "[4, 4]");
        Tool.Refuses(["neighbours", "--embeddings", four, "--keys", four, "--exclude-self", "--output", to], "--exclude-self", "--keys");
        Tool.Refuses(["neighbours", "--embeddings", four, "--keys", _folder["none.npy"], "--output", to], "no such file", "--keys");
        Tool.Refuses(["neighbours", "--embeddings", four, "--output", _folder["o.csv"]], "--output", ".npy");
        Tool.Refuses(["neighbours", "--embeddings", four, "--output", to, "--precision", "fp8"], "fp8");
        Tool.Refuses(["neighbours", "--embeddings", four, "--output", to, "--device", "tpu"], "--device");
    }

    private string Write(string name, float[] values, int dim)
    {
        LossTests.WriteNpy(_folder[name], "<f4", MemoryMarshal.AsBytes<float>(values), values.Length / dim, dim);
        return _folder[name];
    }

    private static JsonElement Line(params string[] arguments)
    {
        Tool run = Tool.Run(["neighbours", .. arguments]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        return JsonDocument.Parse(run.Output).RootElement;
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

    private static float[] Normal(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }
}
