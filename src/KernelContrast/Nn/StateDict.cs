namespace KernelContrast.Nn;

/// <summary>What did not fit when a model was loaded without <c>strict</c>.</summary>
/// <param name="Missing">Names of the model that were not saved; they keep their values.</param>
/// <param name="Unexpected">Saved names the model has not.</param>
public sealed record LoadReport(IReadOnlyList<string> Missing, IReadOnlyList<string> Unexpected);

/// <summary>Saves and loads a module's parameters and buffers as safetensors.</summary>
public static class StateDict
{
    /// <summary>Writes all parameters and buffers, atomically.</summary>
    /// <exception cref="IOException">The file could not be written; what was there before is unchanged.</exception>
    public static void Save(Module module, string path, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(path);
        Safetensors.Write(path, module.NamedTensors().Select(t => KeyValuePair.Create(t.Name, t.Tensor)), metadata);
    }

    /// <summary>
    /// Loads a safetensors file: ours, or one of torchvision's weights. PyTorch's counters <c>num_batches_tracked</c> are
    /// ignored, since nothing here needs them.
    /// </summary>
    /// <param name="module">What is filled.</param>
    /// <param name="path">The file.</param>
    /// <param name="strict">Whether every name must be on both sides; shapes must always agree.</param>
    /// <param name="prefix">Only names that begin so are read, without it: "encoder.".</param>
    /// <exception cref="ArgumentException">Names or shapes do not fit; all are listed, and nothing was loaded.</exception>
    /// <exception cref="DataFormatException">The file is damaged, or no safetensors file.</exception>
    public static LoadReport Load(Module module, string path, bool strict = true, string prefix = "")
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(prefix);
        using var reader = new SafetensorsReader(path);
        var tensors = new Dictionary<string, Tensor>();
        try
        {
            foreach (SafetensorsEntry entry in reader.Entries)
                if (entry.Name.StartsWith(prefix, StringComparison.Ordinal) && !IsCounter(entry.Name))
                    tensors.Add(entry.Name[prefix.Length..], reader.Read(entry.Name));
            return Load(module, tensors, strict, path);
        }
        finally { foreach (Tensor tensor in tensors.Values) tensor.Dispose(); }
    }

    /// <summary>Loads tensors by name, copying them.</summary>
    /// <inheritdoc cref="Load(Module, string, bool, string)" path="/exception"/>
    public static LoadReport Load(Module module, IReadOnlyDictionary<string, Tensor> tensors, bool strict = true)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(tensors);
        return Load(module, tensors, strict, null);
    }

    private static LoadReport Load(Module module, IReadOnlyDictionary<string, Tensor> tensors, bool strict, string? path)
    {
        IReadOnlyList<(string Name, Tensor Tensor)> targets = module.NamedTensors();
        var known = new Dictionary<string, Tensor>(tensors.Where(t => !IsCounter(t.Key)));
        NamedTensors.Copy($"{(path is null ? "" : $"{path}: ")}{module.GetType().Name}", targets, known, allowMissing: !strict, allowUnexpected: !strict);
        var names = new HashSet<string>(targets.Select(t => t.Name));
        return new([.. names.Where(n => !known.ContainsKey(n))], [.. known.Keys.Where(n => !names.Contains(n))]);
    }

    private static bool IsCounter(string name) => name.EndsWith("num_batches_tracked", StringComparison.Ordinal);
}
