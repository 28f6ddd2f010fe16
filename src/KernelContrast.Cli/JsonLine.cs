using System.Globalization;
using System.Text;
using System.Text.Json;

namespace KernelContrast.Cli;

/// <summary>One JSON object on one line, for scripts.</summary>
internal static class JsonLine
{
    internal static string Of(Action<Utf8JsonWriter> members)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }
        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    /// <summary>JSON has no NaN and no infinity: they become "NaN", "Infinity" and "-Infinity".</summary>
    internal static void WriteFloat(this Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteString(name, value.ToString(CultureInfo.InvariantCulture));
    }

    /// <inheritdoc cref="WriteFloat(Utf8JsonWriter, string, double)"/>
    internal static void WriteFloat(this Utf8JsonWriter json, string name, float value)
    {
        if (float.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteString(name, value.ToString(CultureInfo.InvariantCulture));
    }
}
