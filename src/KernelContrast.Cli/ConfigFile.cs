using System.CommandLine;
using System.CommandLine.Help;
using System.Text;
using System.Text.Json;

namespace KernelContrast.Cli;

/// <summary>
/// Options from a JSON file: <c>--config run.json</c> with <c>{"batch-size": 256, …}</c>, keys as on the command line
/// without the dashes. The command line wins over the file, the file over the defaults. A verb that writes results
/// writes the options it ran with beside them, in this form.
/// </summary>
internal static class ConfigFile
{
    /// <summary>The name of the file that runs write beside their results.</summary>
    internal const string FileName = "run.json";

    /// <summary>Key that tells which verb a file is for; optional.</summary>
    private const string VerbKey = "verb";

    private const string OutKey = "out";

    /// <summary>What stood for "not given" in the files of earlier versions.</summary>
    private static readonly Dictionary<string, string> FormerDefaults = new() { ["image-size"] = "0" };

    private const int MostBytes = 1 << 20;

    internal static Option<string?> Option { get; } = new("--config")
    {
        Description = "Take options from this JSON file, as runs write it (run.json); the command line wins",
        HelpName = "FILE",
        Recursive = true,
    };

    /// <summary>Parses the command line, with what a <c>--config</c> file says appended.</summary>
    /// <exception cref="UserError">The file is missing, no JSON object, for another verb, or has an unknown key.</exception>
    internal static ParseResult Parse(RootCommand root, string[] args)
    {
        var settings = new ParserConfiguration { ResponseFileTokenReplacer = null };
        ParseResult parsed = root.Parse(args, settings);
        if (parsed.CommandResult.Command is not VerbCommand verb) return parsed;
        string? resumed = verb.Resumed?.Invoke(parsed);
        if (parsed.GetResult(Option) is { Tokens: [var token] })
        {
            InputFile.Check(token.Value, Option.Name, "a JSON file of options");
            // a resumed run goes on where it is, wherever it was begun
            Add(token.Value, (json, path) => Arguments(path, json, verb, parsed, key => resumed is null || key != OutKey));
        }
        if (resumed is not null && Path.Combine(resumed, FileName) is var began && File.Exists(began))
            Add(began, (json, path) => json.ValueKind == JsonValueKind.Object && json.TryGetProperty(VerbKey, out JsonElement of) && of.ValueEquals(verb.Name)
                ? Arguments(path, json, verb, parsed, verb.Remembered.Contains) : []);
        return parsed;

        void Add(string path, Func<JsonElement, string, List<string>> arguments)
        {
            try
            {
                using JsonDocument json = JsonDocument.Parse(Read(path), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
                args = [.. args, .. arguments(json.RootElement, path)];
            }
            // names and texts that are no UTF-8 are found when they are asked for
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                throw new UserError($"{path}: expected a JSON object of options: {e.Message}");
            }
            parsed = root.Parse(args, settings);
        }
    }

    private static ReadOnlyMemory<byte> Read(string path)
    {
        var bytes = new byte[MostBytes + 1];
        using FileStream file = File.OpenRead(path);
        int length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (length > MostBytes) throw new UserError($"{path}: expected a JSON object of options, found more than {MostBytes} bytes.");
        int mark = bytes.AsSpan(0, length).StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0;
        return bytes.AsMemory(mark, length - mark);
    }

    /// <summary>Writes every option of the verb, as this run has it, to <c>run.json</c> in a directory.</summary>
    internal static void Write(ParseResult parsed, string directory)
    {
        AtomicFile.Write(Path.Combine(directory, FileName), stream =>
        {
            using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
            json.WriteStartObject();
            json.WriteString(VerbKey, parsed.CommandResult.Command.Name);
            foreach (Argument argument in parsed.CommandResult.Command.Arguments)
                WriteValue(json, argument.Name, parsed.GetResult(argument)?.GetValueOrDefault<object?>());
            foreach (Option option in Settable(parsed.CommandResult.Command))
                WriteValue(json, KeyOf(option), parsed.GetResult(option)?.GetValueOrDefault<object?>());
            json.WriteEndObject();
        });
    }

    private static IEnumerable<Option> Settable(Command verb) => verb.Options.Where(o => o is not HelpOption && o.Name != Option.Name);

    private static string KeyOf(Option option) => option.Name.TrimStart('-');

    private static List<string> Arguments(string path, JsonElement root, VerbCommand verb, ParseResult given, Func<string, bool> takes)
    {
        if (root.ValueKind != JsonValueKind.Object) throw new UserError($"{path}: expected a JSON object of options, found {Describe(root)}.");
        var arguments = new List<string>();
        foreach (JsonProperty property in root.EnumerateObject())
        {
            if (property.Name != VerbKey && !takes(property.Name)) continue;
            if (property.Name == VerbKey)
            {
                if (property.Value.ValueKind != JsonValueKind.String || property.Value.GetString() != verb.Name)
                    throw new UserError($"{path}: is of the verb {property.Value}, not of '{verb.Name}'.");
                continue;
            }
            if (verb.Arguments.FirstOrDefault(a => a.Name == property.Name) is { } argument)
            {
                if (given.GetResult(argument) is null or { Tokens.Count: 0 }) arguments.AddRange(Values(path, property));
                continue;
            }
            Option option = Settable(verb).FirstOrDefault(o => KeyOf(o) == property.Name)
                ?? throw new UserError($"{path}: '{property.Name}' is no option of '{verb.Name}'. Known are {string.Join(", ", Settable(verb).Select(KeyOf))}.");
            if (given.GetResult(option) is { Implicit: false }) continue;
            if (FormerDefaults.TryGetValue(property.Name, out string? former) && property.Value.ValueKind == JsonValueKind.Number && property.Value.GetRawText() == former) continue;
            arguments.AddRange(Values(path, property).Select(value => $"{option.Name}={value}"));
        }
        return arguments;
    }

    private static IEnumerable<string> Values(string path, JsonProperty property) => property.Value.ValueKind switch
    {
        JsonValueKind.Null => [],
        JsonValueKind.String => [property.Value.GetString()!],
        JsonValueKind.Number => [property.Value.GetRawText()],
        JsonValueKind.True => ["true"],
        JsonValueKind.False => ["false"],
        JsonValueKind.Array => [.. property.Value.EnumerateArray().Select(v => v.ToString())],
        _ => throw new UserError($"{path}: '{property.Name}' is {Describe(property.Value)}, expected a number, text, true, false or a list."),
    };

    private static string Describe(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => element.GetRawText(),
    };

    private static void WriteValue(Utf8JsonWriter json, string key, object? value)
    {
        json.WritePropertyName(key);
        switch (value)
        {
            case null: json.WriteNullValue(); break;
            case bool truth: json.WriteBooleanValue(truth); break;
            case int number: json.WriteNumberValue(number); break;
            case ulong number: json.WriteNumberValue(number); break;
            case double number: json.WriteNumberValue(number); break;
            case float number: json.WriteNumberValue(number); break;
            case IEnumerable<int> list: WriteList(json, list); break;
            case IEnumerable<string> list: WriteList(json, list); break;
            default: json.WriteStringValue(value.ToString()); break;
        }
    }

    private static void WriteList<T>(Utf8JsonWriter json, IEnumerable<T> list)
    {
        json.WriteStartArray();
        foreach (T item in list) WriteListItem(json, item);
        json.WriteEndArray();
    }

    private static void WriteListItem<T>(Utf8JsonWriter json, T item)
    {
        if (item is int number) json.WriteNumberValue(number);
        else json.WriteStringValue(item?.ToString());
    }
}
