using System.Text.Json;
using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast.Cli.Bench;

/// <summary>
/// Times losses for another program that takes turns with it: one JSON object per line in, one out, until the input ends.
/// </summary>
/// <remarks>
/// {"kind", "rows", "dim", "temperature", "precision", "queue", "write"} sets a problem up, and with "write" puts inputs and
/// gradients into that safetensors file; {"repeat", "cold"} times it. A problem with a line is answered by {"error"}.
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

    private string SetUp(JsonElement request)
    {
        _problem?.Dispose();
        _problem = null;
        string kind = request.GetProperty("kind").GetString()!;
        if (!LossProblem.Kinds.TryGetValue(kind, out LossKind known)) throw new ArgumentException($"There is no loss '{kind}'. Known are {string.Join(", ", LossProblem.Kinds.Keys)}.");
        LossProblem problem = _problem = new LossProblem(known, request.GetProperty("rows").GetInt32(), request.GetProperty("dim").GetInt32(),
            Optional("temperature")?.GetSingle() ?? 0.1f, Optional("queue")?.GetInt32(), device, LossProblem.PrecisionOf(Optional("precision")?.GetString() ?? "f32"));
        problem.Run();
        if (Optional("write")?.GetString() is { } path) problem.Write(path);
        return JsonLine.Of(answer =>
        {
            answer.WriteString("item", problem.Name);
            answer.WriteString("device", device.Name);
            answer.WriteNumber("productFlops", problem.ProductFlops);
            answer.WriteNumber("products", problem.Products);
            answer.WriteNumber("peakBytes", device.Memory.PeakLiveBytes);
            answer.WriteNumber("liveBytes", device.Memory.LiveBytes);
        });

        JsonElement? Optional(string name) => request.TryGetProperty(name, out JsonElement value) ? value : null;
    }
}
