using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary><c>loss nt-xent</c> against the formula in double precision, and everything it must refuse.</summary>
[TestFixture]
internal sealed class LossTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Create() => _folder = new();

    [TearDown]
    public void Delete() => _folder.Dispose();

    [TestCase(2, 1, 0.5, "halves")]
    [TestCase(6, 3, 0.5, "interleaved")]
    [TestCase(34, 7, 0.1, "halves")]
    [TestCase(130, 128, 0.1, "interleaved")]
    [TestCase(66, 20, 0.01, "halves")]
    public void Loss_and_gradient_are_those_of_the_formula(int rows, int dim, double tau, string layout)
    {
        float[] h = Normal(rows * dim, seed: rows);
        string file = _folder["h.npy"], gradients = _folder["g.safetensors"];
        WriteNpy(file, "<f4", MemoryMarshal.AsBytes<float>(h), rows, dim);
        JsonElement line = Line("--embeddings", file, "--temperature", Text(tau), "--layout", layout, "--gradients", gradients);
        Assert.Multiple(() =>
        {
            Assert.That(line.EnumerateObject().Select(p => p.Name), Is.EqualTo(new[] { "kind", "loss", "rows", "dim", "temperature", "device", "milliseconds" }));
            Assert.That(line.GetProperty("kind").GetString(), Is.EqualTo("nt-xent"));
            Assert.That(line.GetProperty("rows").GetInt32(), Is.EqualTo(rows));
            Assert.That(line.GetProperty("dim").GetInt32(), Is.EqualTo(dim));
            Assert.That(line.GetProperty("temperature").GetDouble(), Is.EqualTo(tau).Within(1e-7));
            Assert.That(line.GetProperty("device").GetString(), Is.EqualTo("cpu"));
            Assert.That(line.GetProperty("milliseconds").GetDouble(), Is.GreaterThanOrEqualTo(0));
        });
        (double loss, double[] gradient, double[] size) = NtXentReference.Of(Array.ConvertAll(h, v => (double)v), rows, dim, (float)tau, Partner(layout, rows));
        Assert.That(line.GetProperty("loss").GetDouble(), Is.EqualTo(loss).Within(1e-5 * Math.Max(1, Math.Abs(loss))));
        AssertGradient(gradients, gradient, size, dim);
    }

    [Test]
    public void Layout_and_temperature_have_defaults()
    {
        float[] h = Normal(8 * 4, seed: 1);
        string file = _folder["h.npy"];
        WriteNpy(file, "<f4", MemoryMarshal.AsBytes<float>(h), 8, 4);
        double loss = NtXentReference.Of(Array.ConvertAll(h, v => (double)v), 8, 4, 0.5, Partner("halves", 8)).Loss;
        Assert.That(Line("--embeddings", file).GetProperty("loss").GetDouble(), Is.EqualTo(loss).Within(1e-5));
    }

    [Test]
    public void Float64_and_safetensors_give_what_float32_gives()
    {
        float[] h = Normal(10 * 6, seed: 2);
        WriteNpy(_folder["f4.npy"], "<f4", MemoryMarshal.AsBytes<float>(h), 10, 6);
        WriteNpy(_folder["f8.npy"], "<f8", MemoryMarshal.AsBytes<double>(Array.ConvertAll(h, v => (double)v)), 10, 6);
        using (Tensor tensor = Tensor.From<float>(h, new(10, 6)))
            Safetensors.Write(_folder["h.safetensors"], [KeyValuePair.Create("other", tensor), KeyValuePair.Create("embeddings", tensor)]);
        double expected = Line("--embeddings", _folder["f4.npy"]).GetProperty("loss").GetDouble();
        Assert.That(Line("--embeddings", _folder["f8.npy"]).GetProperty("loss").GetDouble(), Is.EqualTo(expected));
        Assert.That(Line("--embeddings", _folder["h.safetensors"]).GetProperty("loss").GetDouble(), Is.EqualTo(expected));
    }

    [Test]
    public void Rows_of_extreme_norm_are_exact_and_a_zero_row_has_no_gradient()
    {
        const int rows = 6, dim = 5;
        float[] h = Normal(rows * dim, seed: 3);
        for (int d = 0; d < dim; d++)
        {
            h[d] *= 1e-18f;
            h[dim + d] *= 1e18f;
            h[2 * dim + d] = 0;
        }
        WriteNpy(_folder["h.npy"], "<f4", MemoryMarshal.AsBytes<float>(h), rows, dim);
        JsonElement line = Line("--embeddings", _folder["h.npy"], "--gradients", _folder["g.safetensors"]);
        (double loss, double[] gradient, double[] size) = NtXentReference.Of(Array.ConvertAll(h, v => (double)v), rows, dim, 0.5, Partner("halves", rows));
        Assert.That(line.GetProperty("loss").GetDouble(), Is.EqualTo(loss).Within(1e-5));
        AssertGradient(_folder["g.safetensors"], gradient, size, dim);
    }

    [Test]
    public void Not_a_number_is_told_as_text()
    {
        float[] h = Normal(4 * 3, seed: 4);
        h[7] = float.NaN;
        WriteNpy(_folder["h.npy"], "<f4", MemoryMarshal.AsBytes<float>(h), 4, 3);
        Assert.That(Line("--embeddings", _folder["h.npy"]).GetProperty("loss").GetString(), Is.EqualTo("NaN"));
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["h.npy"], "--check"], "row 2", "NaN");
    }

    [TestCase(3, 4, "even number of rows", TestName = "An odd number of rows is refused")]
    [TestCase(0, 4, "2 or more rows", TestName = "No rows are refused")]
    [TestCase(1, 4, "2 or more rows", TestName = "One row is refused")]
    [TestCase(4, 0, "1 or more columns", TestName = "No columns are refused")]
    public void Shape(int rows, int dim, string message)
    {
        WriteNpy(_folder["h.npy"], "<f4", new byte[4 * rows * dim], rows, dim);
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["h.npy"]], message);
    }

    [TestCase("0"), TestCase("-0.5"), TestCase("NaN"), TestCase("Infinity"), TestCase("warm")]
    public void A_temperature_that_is_not_positive_is_refused(string temperature)
    {
        WriteNpy(_folder["h.npy"], "<f4", new byte[4 * 4 * 2], 4, 2);
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["h.npy"], "--temperature", temperature], "temperature");
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        WriteNpy(_folder["h.npy"], "<f4", new byte[4 * 4 * 2], 4, 2);
        WriteNpy(_folder["i.npy"], "<i4", new byte[4 * 4 * 2], 4, 2);
        WriteNpy(_folder["huge.npy"], "<f8", MemoryMarshal.AsBytes<double>([1e300, 1, 1, 1]), 2, 2);
        File.WriteAllText(_folder["h.csv"], "1,2");
        File.WriteAllText(_folder["torn.npy"], "\u0093NUMPY");
        using (Tensor tensor = Tensor.Zeros(new(2, 2))) Safetensors.Write(_folder["z.safetensors"], [KeyValuePair.Create("z", tensor)]);
        string h = _folder["h.npy"];
        Tool.Refuses(["loss", "infonce", "--embeddings", h], "infonce", "nt-xent");
        Tool.Refuses(["loss", "--embeddings", h], "loss");
        Tool.Refuses(["loss", "nt-xent"], "--embeddings");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", h, "--layout", "thirds"], "thirds", "halves");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", h, "--tau", "1"], "--tau");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", h, "--device", "tpu"], "tpu");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", h, "--gradients", _folder["none/g.safetensors"]], "does not exist");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["none.npy"]], "no such file");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["h.csv"]], ".npy or .safetensors");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["torn.npy"]], "torn.npy");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["i.npy"]], "float32 or float64");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["huge.npy"]], "row 0", "float32's range");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["z.safetensors"]], "'embeddings'", "'z'");
    }

    private static JsonElement Line(params string[] options)
    {
        Tool run = Tool.Run(["loss", "nt-xent", .. options]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.TrimEnd('\n'), Does.Not.Contain("\n"));
        return JsonDocument.Parse(run.Output).RootElement;
    }

    private static void AssertGradient(string file, double[] expected, double[] size, int dim)
    {
        using Tensor gradient = Safetensors.Read(file)["embeddings"];
        float[] actual = gradient.ToArray();
        Assert.That(actual, Has.Length.EqualTo(expected.Length));
        for (int i = 0; i < actual.Length; i++)
            Assert.That(actual[i], Is.EqualTo(expected[i]).Within(1e-5 * size[i / dim]), $"row {i / dim}, column {i % dim}");
    }

    private static Func<int, int> Partner(string layout, int rows) => layout == "halves" ? i => (i + rows / 2) % rows : i => i ^ 1;

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);

    private static float[] Normal(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
    }

    /// <summary>A .npy file as NumPy writes it, made here and not by what is tested.</summary>
    internal static void WriteNpy(string path, string type, ReadOnlySpan<byte> elements, int rows, int dim)
    {
        string header = $"{{'descr': '{type}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".PadRight(117) + "\n";
        byte[] start = [0x93, .. "NUMPY"u8, 1, 0, (byte)header.Length, 0];
        File.WriteAllBytes(path, [.. start, .. Encoding.ASCII.GetBytes(header), .. elements]);
    }
}
