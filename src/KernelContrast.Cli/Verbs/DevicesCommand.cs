using System.CommandLine;
using System.Globalization;
using System.Runtime.Intrinsics;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>devices</c>: where this machine can compute.</summary>
internal static class DevicesCommand
{
    private sealed record Row(string Name, string Kind, int Threads, long MemoryBytes);

    internal static VerbCommand Create()
    {
        var json = new Option<bool>("--json") { Description = "Print one JSON object per device" };
        var verb = new VerbCommand("devices", "List the devices that --device takes on this machine.", "kernelcontrast devices") { json };
        verb.SetAction(parsed =>
        {
            Row[] rows = [Cpu()];
            if (parsed.GetValue(json))
            {
                foreach (Row row in rows) Terminal.Line(Json(row));
                return 0;
            }
            Terminal.Table(["device", "kind", "threads", "memory"],
                [.. rows.Select(r => new[] { r.Name, r.Kind, r.Threads.ToString(CultureInfo.InvariantCulture), $"{r.MemoryBytes >> 20} MiB" })]);
            return 0;
        });
        return verb;
    }

    private static Row Cpu()
    {
        int bits = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;
        return new("cpu", $"C#, {bits}-bit vectors", Device.Cpu.Threads, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
    }

    private static string Json(Row row) => JsonLine.Of(json =>
    {
        json.WriteString("device", row.Name);
        json.WriteString("kind", row.Kind);
        json.WriteNumber("threads", row.Threads);
        json.WriteNumber("memoryBytes", row.MemoryBytes);
    });
}
