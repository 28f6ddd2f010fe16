using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary><c>bench loss</c>: the table, its files, and the server that takes turns with another program.</summary>
[TestFixture]
internal sealed class BenchTests
{
    private static readonly string[] Small = ["--rows", "16", "40", "--dim", "6", "--queue", "24", "--seconds", "0.01", "--gemm", "32", "--threads", "1"];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Make() => _folder = new();

    [TearDown]
    public void Delete() => _folder.Dispose();

    [TestCase("cpu"), TestCase("cuda-emulated")]
    public void Every_loss_has_a_line_and_is_right(string device)
    {
        string[] kinds = device == "cpu" ? [] : ["nt-xent"];
        Tool run = Tool.Run(["bench", "loss", .. kinds, .. Small, "--device", device, "--json", _folder["out.json"], "--plot", _folder["out.png"]]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output.TrimEnd().Split('\n'), Has.Length.EqualTo(2 + 2 * (device == "cpu" ? 7 : 1)));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(_folder["out.json"]));
        foreach (JsonElement row in json.RootElement.GetProperty("rows").EnumerateArray())
        {
            double At(string name) => row.GetProperty(name).GetDouble();
            string item = row.GetProperty("item").GetString()!;
            Assert.That(At("error"), Is.GreaterThan(0).And.LessThan(1e-4), item);
            Assert.That(At("columns"), Is.EqualTo(item.StartsWith("MoCo") ? 24 : At("rows")), item);
            JsonElement hot = row.GetProperty("hot");
            Assert.That(hot.GetProperty("p20").GetDouble(), Is.GreaterThan(0).And.LessThanOrEqualTo(hot.GetProperty("p80").GetDouble()), item);
            double product = 2 * At("rows") * At("columns") * At("dim") / json.RootElement.GetProperty("gemmGflops").GetDouble() / 1e6;
            Assert.That(At("gemmEquivalents"), Is.EqualTo(hot.GetProperty("median").GetDouble() / product).Within(0.01).Percent, item);
            Assert.That(At("percentOfFloor"), Is.EqualTo(100 * At("floorGemmEquivalents") / At("gemmEquivalents")).Within(0.01).Percent, item);
        }
        Assert.That(File.ReadAllBytes(_folder["out.png"])[1..4], Is.EqualTo("PNG"u8.ToArray()));
    }

    [Test]
    public void A_program_that_takes_turns_is_served()
    {
        string file = _folder["x.safetensors"];
        JsonElement[] answers = Serve(
            $$"""{"kind":"clip","rows":12,"dim":5,"temperature":0.2,"write":"{{file}}"}""", """{"repeat":3,"cold":true}""", "no json",
            """{"kind":"nix","rows":2,"dim":2}""", """{"repeat":1}""", """{"kind":"nt-xent","rows":3,"dim":2}""");
        Assert.That(answers, Has.Length.EqualTo(6));
        Assert.That(answers[0].GetProperty("productFlops").GetDouble(), Is.EqualTo(2 * 12 * 12 * 5));
        Assert.That(answers[1].GetProperty("milliseconds").EnumerateArray().Select(t => t.GetDouble()), Has.Exactly(3).Items.And.All.GreaterThan(0));
        foreach (int wrong in new[] { 2, 3, 4, 5 }) Assert.That(answers[wrong].GetProperty("error").GetString(), Is.Not.Empty);
        Assert.That(answers[3].GetProperty("error").GetString(), Does.Contain("nix").And.Contain("siglip"));
        using Tensor keys = Safetensors.Read(file)["keys"], gradient = Safetensors.Read(file)["grad_keys"];
        Assert.That(keys.Shape, Is.EqualTo(new Shape(12, 5)));
        // A gradient through the norm is orthogonal to its row.
        float[] k = keys.ToArray(), g = gradient.ToArray();
        Assert.That(g.Max(Math.Abs), Is.GreaterThan(1e-3));
        for (int i = 0; i < 12; i++) Assert.That(Enumerable.Range(5 * i, 5).Sum(j => (double)k[j] * g[j]), Is.Zero.Within(1e-6));
    }

    [Test]
    public void Wrong_calls_are_refused()
    {
        Tool.Refuses(["bench"], "what");
        Tool.Refuses(["bench", "loss", "triplet"], "triplet", "nt-xent");
        Tool.Refuses(["bench", "loss", "nt-xent", "--rows", "5"], "5");
        Tool.Refuses(["bench", "loss", "--rows", "0"], "--rows");
        Tool.Refuses(["bench", "loss", "--precision", "f16"], "f16");
    }

    private static JsonElement[] Serve(params string[] lines)
    {
        using System.Diagnostics.Process process = Tool.StartWithInput("bench", "loss", "--serve", "--threads", "1");
        foreach (string line in lines) process.StandardInput.WriteLine(line);
        process.StandardInput.Close();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return [.. output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement)];
    }
}
