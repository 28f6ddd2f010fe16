using System.Buffers;
using System.Text.Json;

namespace KernelContrast.Training;

/// <summary>
/// <c>metrics.jsonl</c>: one JSON object per line, appended as the run goes. Its lines never run ahead of the checkpoint
/// for long: a resumed run drops those behind its first step, a torn last one included.
/// </summary>
public sealed class Metrics : IDisposable
{
    /// <summary>The file's name within a run's directory.</summary>
    public const string FileName = "metrics.jsonl";

    private readonly FileStream _file;

    /// <summary>Opens the file of a directory, keeping the lines of steps up to <paramref name="step"/>.</summary>
    internal Metrics(string directory, long step)
    {
        string path = Path.Combine(directory, FileName);
        AtomicFile.RemoveLeftovers(path);
        byte[] kept = File.Exists(path) ? Keep(File.ReadAllBytes(path), step) : [];
        AtomicFile.Write(path, stream => stream.Write(kept));
        _file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
    }

    internal void Add(StepReport report) => Append(json =>
    {
        json.WriteString("kind", "step");
        Common(json, report.Step, report.Epoch, report.Loss, report.LearningRate, report.ImagesPerSecond, report.Elapsed);
    });

    internal void Add(EpochReport report) => Append(json =>
    {
        json.WriteString("kind", "epoch");
        Common(json, report.Step, report.Epoch, report.Loss, report.LearningRate, report.ImagesPerSecond, report.Elapsed);
        if (report.Health is not { } health) return;
        Number(json, "spread", health.Spread);
        Number(json, "alignment", health.Alignment);
        Number(json, "uniformity", health.Uniformity);
        Number(json, "rankMe", health.RankMe);
    });

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();

    private static void Common(Utf8JsonWriter json, long step, int epoch, double loss, double rate, double imagesPerSecond, TimeSpan elapsed)
    {
        json.WriteNumber("step", step);
        json.WriteNumber("epoch", epoch);
        Number(json, "loss", loss);
        Number(json, "learningRate", rate);
        Number(json, "imagesPerSecond", Math.Round(imagesPerSecond, 1));
        Number(json, "seconds", Math.Round(elapsed.TotalSeconds, 3));
    }

    /// <summary>JSON has no NaN: such numbers are written as text.</summary>
    private static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteString(name, value.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    private void Append(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }
        buffer.Write("\n"u8);
        _file.Write(buffer.WrittenSpan);
        _file.Flush();
    }

    private static byte[] Keep(byte[] content, long step)
    {
        var kept = new MemoryStream();
        int start = 0;
        for (int end; (end = Array.IndexOf(content, (byte)'\n', start)) >= 0; start = end + 1)
        {
            ReadOnlySpan<byte> line = content.AsSpan(start, end + 1 - start);
            if (StepOf(line) is { } at && at <= step) kept.Write(line);
        }
        return kept.ToArray();
    }

    private static long? StepOf(ReadOnlySpan<byte> line)
    {
        try
        {
            var reader = new Utf8JsonReader(line);
            using JsonDocument json = JsonDocument.ParseValue(ref reader);
            return json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("step", out JsonElement value)
                && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long step) ? step : null;
        }
        catch (JsonException) { return null; }
    }
}
