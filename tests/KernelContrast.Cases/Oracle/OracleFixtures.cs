using System.Text.Json;

namespace KernelContrast.Cases.Oracle;

/// <summary>libtorch's results, kept as JSON: recipe → result → numbers.</summary>
public sealed class OracleFixtures
{
    private readonly Dictionary<string, Dictionary<string, float[]>> _results;

    private OracleFixtures(Dictionary<string, Dictionary<string, float[]>> results) => _results = results;

    public IReadOnlyDictionary<string, float[]> this[string recipe] => _results[recipe];

    public static OracleFixtures Read(string path) =>
        new(JsonSerializer.Deserialize<Dictionary<string, Dictionary<string, float[]>>>(File.ReadAllText(path))!);

    public static void Write(string path, Dictionary<string, Dictionary<string, float[]>> results) =>
        AtomicFile.Write(path, stream => JsonSerializer.Serialize(stream, results, new JsonSerializerOptions { WriteIndented = false }));

    /// <summary>
    /// Null when every result of <paramref name="ours"/> is within <paramref name="tolerance"/> of the fixture's, as a
    /// share of that result's root mean square (a digest's: of its norm per element); else one line saying what differs.
    /// </summary>
    public static string? Difference(IReadOnlyDictionary<string, float[]> expected, IReadOnlyDictionary<string, float[]> ours, double tolerance)
    {
        string[] missing = [.. expected.Keys.Except(ours.Keys)], added = [.. ours.Keys.Except(expected.Keys)];
        if (missing.Length + added.Length > 0)
            return $"results differ in name: missing {string.Join(", ", missing.Take(5))}; not expected {string.Join(", ", added.Take(5))}";
        foreach ((string name, float[] theirs) in expected)
        {
            CaseResult result = CaseRunner.Compare(name, ours[name], [.. theirs.Select(v => (double)v)], null, new Tolerance(tolerance, tolerance));
            if (result.Problem is not null) return result.Problem;
        }
        return null;
    }
}
