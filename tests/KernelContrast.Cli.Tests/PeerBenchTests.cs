using System.Diagnostics;
using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary><c>bench/peers</c>, as far as it goes without a GPU: where there is a python3, and for most of it PyTorch.</summary>
[TestFixture]
internal sealed class PeerBenchTests
{
    private static readonly string Folder = Path.Combine(SmallDigits.Repository, "bench", "peers");

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Make() => _folder = new();

    [TearDown]
    public void Delete() => _folder.Dispose();

    [Test]
    public void The_scripts_are_python()
    {
        string python = Python("import ast") ?? Skip("there is no python3");
        foreach (string script in Directory.GetFiles(Folder, "*.py"))
        {
            Tool run = Run(python, "-c", "import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[2], doraise=True)", script, _folder["x.pyc"]);
            Assert.That(run.ExitCode, Is.Zero, script + run.Error);
        }
        // without PyTorch: help, and what is wrong with arguments
        Tool help = Run(python, Script("run.py"), "--help");
        Assert.That(help.ExitCode, Is.Zero, help.Error);
        Assert.That(help.Output, Does.Contain("--tool PATH"));
        Tool wrong = Run(python, Script("run.py"), "--tool", "x", "--dims", "20");
        Assert.That(wrong.ExitCode, Is.EqualTo(2));
        Assert.That(wrong.Error, Does.Contain("multiples of 16"));
    }

    [Test]
    public void Every_peer_agrees_with_float64()
    {
        Tool run = Run(PythonWithTorch(), Script("check.py"));
        Assert.That(run.ExitCode, Is.Zero, run.Output + run.Error);
        Assert.That(run.Output, Does.Contain("All peers agree"));
    }

    [Test]
    public void The_script_runs_on_the_cpu_and_its_figures_are_drawn()
    {
        string json = _folder["peers.json"], png = _folder["clip.png"];
        Tool run = Run(PythonWithTorch(), Script("run.py"), "--tool", Tool.Executable, "--device", "cpu", "--threads", "1", "--kinds", "nt-xent", "clip", "--sizes", "16", "40",
            "--dims", "32", "--seconds", "0.01", "--gemm", "32", "--peers", "eager", "in place", "streamed", "--out", json);
        Assert.That(run.ExitCode, Is.Zero, run.Output + run.Error);
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement rate = document.RootElement.GetProperty("ceilings").GetProperty("torch").GetProperty("f32");
        JsonElement[] rows = [.. document.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.That(rows, Has.Length.EqualTo(2 * 3 * 3), "two kinds, two sizes and a second temperature, three peers");
        foreach (JsonElement row in rows)
        {
            if (row.GetProperty("peer").GetString() == "streamed")
            {
                Assert.That(row.GetProperty("missing").GetString(), Does.Contain("GPU"));
                continue;
            }
            double At(string name) => row.GetProperty(name).GetDouble();
            double Median(string name) => row.GetProperty(name).GetProperty("median").GetDouble();
            foreach (string side in new[] { "error", "peerError" }) Assert.That(At(side), Is.GreaterThan(0).And.LessThan(1e-4), row.ToString());
            Assert.That(row.GetProperty("ratio").GetProperty("p20").GetDouble(), Is.GreaterThan(0).And.LessThanOrEqualTo(Median("ratio")), row.ToString());
            Assert.That(At("gemmEquivalents"), Is.EqualTo(Median("ours") * rate.GetDouble() * 1e6 / (2 * At("rows") * At("rows") * At("dim"))).Within(0.01).Percent, row.ToString());
        }
        Tool drawn = Tool.Run("bench", "figure", json, "--kind", "clip", "--plot", png);
        Assert.That(drawn.ExitCode, Is.Zero, drawn.Error);
        Assert.That(File.ReadAllBytes(png)[1..4], Is.EqualTo("PNG"u8.ToArray()));
    }

    [Test]
    public void A_figure_needs_a_file_with_such_rows()
    {
        string file = _folder["x.json"];
        Tool.Refuses(["bench", "figure", file, "--plot", _folder["x.png"]], "x.json");
        File.WriteAllText(file, "{}");
        Tool.Refuses(["bench", "figure", file, "--plot", _folder["x.png"]], "run.py");
        string large = _folder["large.json"];
        using (FileStream stream = File.Create(large)) stream.SetLength((64 << 20) + 1);
        Tool.Refuses(["bench", "figure", large, "--plot", _folder["x.png"]], "large.json", "more than 67108864 bytes");
        if (OperatingSystem.IsLinux()) Tool.Refuses(["bench", "figure", "/dev/zero", "--plot", _folder["x.png"]], "/dev/zero", "more than 67108864 bytes");
        File.WriteAllText(file, """
            {"ceilings":{"torch":{"bf16":5e5}},"rows":[
             {"kind":"clip","rows":64,"dim":32,"temperature":0.1,"precision":"bf16","peer":null,"missing":"ours: no"},
             {"kind":"clip","rows":128,"dim":32,"temperature":0.1,"precision":"bf16","peer":"streamed","peerPrecision":"tf32","products":4,"productFlops":1e6,
              "extraBytes":100000,"peerExtraBytes":null,"ours":{"median":1},"theirs":{"median":2}}]}
            """);
        Tool.Refuses(["bench", "figure", file, "--kind", "nt-xent", "--plot", _folder["x.png"]], "nt-xent", "32", "bf16");
        Assert.That(Tool.Run("bench", "figure", file, "--plot", _folder["x.png"]).ExitCode, Is.Zero);
    }

    private static string Script(string name) => Path.Combine(Folder, name);

    private static string PythonWithTorch() => Python("import torch") ?? Skip("there is no python3 with PyTorch");

    private static string Skip(string why)
    {
        Assert.Ignore(why);
        return "";
    }

    /// <summary>The first python3 that can do this, of those a shell finds and the system's own.</summary>
    private static string? Python(string statement)
    {
        foreach (string python in new[] { "python3", "/usr/bin/python3" })
            try
            {
                if (Run(python, "-c", statement).ExitCode == 0) return python;
            }
            catch (System.ComponentModel.Win32Exception)
            {
                // there is none of that name
            }
        return null;
    }

    private static Tool Run(string program, params string[] args)
    {
        var start = new ProcessStartInfo(program, args) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1";
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new(process.ExitCode, output, error.Result);
    }
}
