using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using KernelContrast.Cli.Bench;

namespace KernelContrast.Bench;

/// <summary>
/// Starts one child process per mode, since malloc settings and vector widths are fixed at a process's start, and
/// writes the table and JSON.
/// </summary>
internal static class Parent
{
    private static readonly (string Mode, (string Name, string Value)[] Environment)[] s_modes =
    [
        ("default", []),
        ("tuned", [("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "1000000000000")]),
        ("default avx2", [("KERNELCONTRAST_SIMD", "256"), ("DOTNET_EnableAVX512", "0"), ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_ENABLE_INSTRUCTIONS", "AVX2"), ("ONEDNN_MAX_CPU_ISA", "AVX2")]),
    ];

    internal static int Run(string? only)
    {
        string folder = Directory.CreateDirectory(Path.Combine("artifacts", "bench")).FullName;
        var rows = new List<BenchRow>();
        foreach (var (mode, environment) in s_modes)
        {
            Console.WriteLine($"[{mode}]");
            string output = Path.Combine(folder, $"{mode.Replace(' ', '-')}.json");
            string[] arguments = only is null ? ["--child", mode, output] : ["--child", mode, output, only];
            using Process child = Start(arguments, environment, captured: false);
            child.WaitForExit();
            if (child.ExitCode != 0) return child.ExitCode;
            rows.AddRange(JsonSerializer.Deserialize(File.ReadAllText(output), BenchJson.Default.ListBenchRow)!);
        }
        var memory = new List<MemoryRow>();
        bool losses = rows.Any(r => r.Group == "loss");
        if (rows.Any(r => r.Item.StartsWith("NT-Xent", StringComparison.Ordinal))) MeasureMemory(memory);
        var report = new BenchReport(
            DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'"), Commit(), Machine(), Device.Cpu.Threads,
            RuntimeInformation.FrameworkDescription, "TorchSharp 0.107.0, libtorch 2.10.0 CPU", rows, memory,
            losses ? GemmRate.Measure(Device.Cpu) : null);
        string json = Path.Combine(folder, "paired.json"), table = Path.Combine(folder, "paired.md");
        File.WriteAllText(json, JsonSerializer.Serialize(report, BenchJson.Default.BenchReport));
        File.WriteAllText(table, Markdown.Of(report));
        string figure = Path.Combine(folder, "nt-xent.png");
        string written = LossFigure.Save(figure, report) ? $"{json}, {table}, {figure}" : $"{json}, {table}";
        Console.WriteLine($"{Environment.NewLine}{Markdown.Of(report)}{Environment.NewLine}Written: {written}");
        return 0;
    }

    private static void MeasureMemory(List<MemoryRow> memory)
    {
        foreach (int rows in MemoryProbe.Sizes)
            foreach (string side in MemoryProbe.Sides) Measure(side, rows);
        Measure(MemoryProbe.Ours, MemoryProbe.LargeRows);

        void Measure(string side, int rows)
        {
            using Process child = Start(["--memory", side, $"{rows}"], [], captured: true);
            string[] fields = child.StandardOutput.ReadToEnd().Split(' ', StringSplitOptions.RemoveEmptyEntries);
            child.WaitForExit();
            string item = $"NT-Xent fwd+bwd N={rows} D={MemoryProbe.Dim}";
            if (child.ExitCode != 0 || fields.Length != 2) { Console.WriteLine($"  {item}: memory of {side}: not measured (exit code {child.ExitCode})"); return; }
            var row = new MemoryRow(item, rows, side, double.Parse(fields[0]), double.Parse(fields[1]));
            memory.Add(row);
            Console.WriteLine($"  {row.Item} memory, {side}: {row.ExtraMebibytes:F0} MiB, {row.PeakMebibytes:F0} MiB in all");
        }
    }

    private static Process Start(string[] arguments, (string Name, string Value)[] environment, bool captured)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, arguments) { RedirectStandardOutput = captured };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        return Process.Start(start)!;
    }

    private static string Commit()
    {
        try
        {
            using Process git = Process.Start(new ProcessStartInfo("git", ["describe", "--always", "--dirty"]) { RedirectStandardOutput = true })!;
            string commit = git.StandardOutput.ReadToEnd().Trim();
            return commit.Length > 0 ? commit : "unknown";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "unknown";
        }
    }

    private static string Machine()
    {
        string? model = File.Exists("/proc/cpuinfo")
            ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim()
            : null;
        return $"{model ?? RuntimeInformation.OSDescription}, {Environment.ProcessorCount} processors, vectors of {KernelContrast.Devices.Simd.HardwareBits} bits";
    }
}
