using System.Text.Json;
using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast.Cli.Bench;

/// <summary>
/// Times losses for another program that takes turns with it: one JSON object per line in, one out, until the input ends.
/// </summary>
/// <remarks>
/// {"kind", "rows", "dim", "temperature", "precision", "queue", "write"} sets a problem up, and with "write" puts inputs and
/// gradients into that safetensors file; {"repeat", "cold"} times it; {"product", "precision"} times the device's own product of
/// square matrices of that size. A problem with a line is answered by {"error"}.
/// </remarks>
internal sealed class LossServer(Device device) : IDisposable
{
    private readonly DeviceTimer _timer = new(device);
    private LossProblem? _problem;

    internal void Run(TextReader input, TextWriter output)
    {
        while (input.ReadLine() is { } line)
        {
            if (string.IsNullOrWhiteSpace(line)) continue;
            output.WriteLine(Answer(line));
            output.Flush();
        }
    }

    public void Dispose()
    {
        _problem?.Dispose();
        _timer.Dispose();
    }

    private string Answer(string line)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            JsonElement request = json.RootElement;
            if (request.TryGetProperty("product", out JsonElement size)) return Product(size.GetInt32(), PrecisionOf(request));
            return request.TryGetProperty("repeat", out JsonElement repeat)
                ? Time(repeat.GetInt32(), request.TryGetProperty("cold", out JsonElement cold) && cold.GetBoolean())
                : SetUp(request);
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException or KeyNotFoundException or NotSupportedException or FormatException or IOException)
        {
            return JsonLine.Of(answer => answer.WriteString("error", e.Message));
        }
    }

    private string Time(int repeat, bool cold)
    {
        LossProblem problem = _problem ?? throw new InvalidOperationException("There is no problem yet: send kind, rows and dim first.");
        double[] milliseconds = [.. Enumerable.Range(0, repeat).Select(_ => _timer.Milliseconds(problem.Run, cold))];
        return JsonLine.Of(answer =>
        {
            answer.WriteStartArray("milliseconds");
            foreach (double value in milliseconds) answer.WriteNumberValue(value);
            answer.WriteEndArray();
        });
    }

    private string Product(int size, Precision precision)
    {
        Release();
        double gflops = GemmRate.Measure(device, size, precision);
        Release();
        return JsonLine.Of(answer => answer.WriteNumber("gflops", gflops));
    }

    // The other program may need the memory.
    private void Release()
    {
        _problem?.Dispose();
        _problem = null;
        device.ReleaseUnusedMemory();
    }

    private static Precision PrecisionOf(JsonElement request) =>
        LossProblem.PrecisionOf(request.TryGetProperty("precision", out JsonElement name) ? name.GetString()! : "f32");

    private string SetUp(JsonElement request)
    {
        Release();
        string kind = request.GetProperty("kind").GetString()!;
        if (!LossProblem.Kinds.TryGetValue(kind, out LossKind known)) throw new ArgumentException($"There is no loss '{kind}'. Known are {string.Join(", ", LossProblem.Kinds.Keys)}.");
        LossProblem problem = _problem = new LossProblem(known, request.GetProperty("rows").GetInt32(), request.GetProperty("dim").GetInt32(),
            Optional("temperature")?.GetSingle() ?? 0.1f, Optional("queue")?.GetInt32(), device, PrecisionOf(request));
        device.ResetPeakMemory();
        long before = device.Memory.LiveBytes;
        problem.Run();
        device.Synchronize();
        long extra = device.Memory.PeakLiveBytes - before;
        if (Optional("write")?.GetString() is { } path) problem.Write(path);
        return JsonLine.Of(answer =>
        {
            answer.WriteString("item", problem.Name);
            answer.WriteString("device", device.Name);
            answer.WriteNumber("productFlops", problem.ProductFlops);
            answer.WriteNumber("products", problem.Products);
            answer.WriteNumber("extraBytes", extra);
        });

        JsonElement? Optional(string name) => request.TryGetProperty(name, out JsonElement value) ? value : null;
    }
}
