namespace KernelContrast;

/// <summary>Copies saved tensors into those of a model or an optimizer, all of them or none.</summary>
internal static class NamedTensors
{
    /// <summary>
    /// Copies every tensor of <paramref name="source"/> into the target of the same name.
    /// </summary>
    /// <param name="whole">What the targets belong to, for messages: "The model".</param>
    /// <param name="targets">What is overwritten.</param>
    /// <param name="source">What was saved.</param>
    /// <param name="allowMissing">Whether targets may keep what they hold when the source lacks them.</param>
    /// <param name="allowUnexpected">Whether the source may hold more.</param>
    /// <exception cref="ArgumentException">Names or shapes do not fit; all of them are listed, and nothing was copied.</exception>
    internal static void Copy(string whole, IReadOnlyList<(string Name, Tensor Tensor)> targets, IReadOnlyDictionary<string, Tensor> source,
        bool allowMissing = false, bool allowUnexpected = false)
    {
        var names = new HashSet<string>(targets.Select(t => t.Name));
        List<string> missing = allowMissing ? [] : [.. targets.Select(t => t.Name).Where(n => !source.ContainsKey(n))];
        List<string> unexpected = allowUnexpected ? [] : [.. source.Keys.Where(n => !names.Contains(n))];
        List<string> different =
        [
            .. targets.Where(t => source.TryGetValue(t.Name, out Tensor? s) && (s.Shape != t.Tensor.Shape || s.Type != t.Tensor.Type))
                .Select(t => $"{t.Name} (saved {Describe(source[t.Name])}, expected {Describe(t.Tensor)})"),
        ];
        if (missing.Count + unexpected.Count + different.Count > 0)
        {
            var problems = new List<string>();
            if (missing.Count > 0) problems.Add($"missing: {Listing.Of(missing)}");
            if (unexpected.Count > 0) problems.Add($"unexpected: {Listing.Of(unexpected)}");
            if (different.Count > 0) problems.Add($"of another shape: {Listing.Of(different)}");
            throw new ArgumentException($"{whole} and what was saved do not fit together. {string.Join("; ", problems)}. Nothing was loaded.");
        }
        foreach ((string name, Tensor tensor) in targets)
            if (source.TryGetValue(name, out Tensor? saved)) tensor.CopyFrom(saved);
    }

    private static string Describe(Tensor tensor) =>
        tensor.Type == DType.Float32 ? tensor.Shape.ToString() : $"{tensor.Shape} of {tensor.Type}";
}
