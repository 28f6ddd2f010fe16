using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;

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
        if (only is null or "nt-xent") MeasureMemory(memory);
        var report = new BenchReport(
            DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'"), Commit(), Machine(), Device.Cpu.Threads,
            RuntimeInformation.FrameworkDescription, "TorchSharp 0.107.0, libtorch 2.10.0 CPU", rows, memory);
        string json = Path.Combine(folder, "paired.json"), table = Path.Combine(folder, "paired.md");
        File.WriteAllText(json, JsonSerializer.Serialize(report, BenchJson.Default.BenchReport));
        File.WriteAllText(table, Markdown.Of(report));
        Console.WriteLine($"{Environment.NewLine}{Markdown.Of(report)}{Environment.NewLine}Written: {json}, {table}");
        return 0;
    }

    private static void MeasureMemory(List<MemoryRow> memory)
    {
        foreach (string side in new[] { "ours", "torch" })
        {
            using Process child = Start(["--memory", side, "16384"], [], captured: true);
            string[] fields = child.StandardOutput.ReadToEnd().Split(' ', StringSplitOptions.RemoveEmptyEntries);
            child.WaitForExit();
            if (child.ExitCode != 0 || fields.Length != 2) { Console.WriteLine($"  memory of {side}: not measured (exit code {child.ExitCode})"); continue; }
            var row = new MemoryRow("NT-Xent fwd+bwd N=16384 D=128", side, double.Parse(fields[0]), double.Parse(fields[1]));
            memory.Add(row);
            Console.WriteLine($"  {row.Item} extra memory, {side}: {row.ExtraMebibytes:F0} MiB");
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
