namespace KernelContrast.Bench;

/// <summary>Something both sides compute. Setting it up may be costly; it is disposed before the next.</summary>
internal sealed class PairedItem : IDisposable
{
    public required Action Ours { get; init; }

    public required Action Theirs { get; init; }

    /// <summary>Largest difference to float64 as a share of its root mean square: (ours, theirs).</summary>
    public Func<(double Ours, double Theirs)>? Errors { get; init; }

    public double Flops { get; init; }

    public double Bytes { get; init; }

    public Action? Cleanup { get; init; }

    public void Dispose() => Cleanup?.Invoke();
}

/// <summary>An item's name, its targets by mode, and how to set it up.</summary>
internal sealed record PairedBench(string Group, string Name, IReadOnlyDictionary<string, double> Targets, Func<PairedItem> Create)
{
    /// <summary>How the peer is written, where there are several.</summary>
    public string Peer { get; init; } = "";

    /// <summary>Runs with tuned malloc too, though there is no target.</summary>
    public bool Tuned { get; init; }

    /// <summary>Whether a word picks it: its group, or the beginning of its name.</summary>
    public bool Is(string word) => Group == word || Name.StartsWith(word, StringComparison.OrdinalIgnoreCase);

    /// <summary>Part of the short list that also runs with vectors narrowed to AVX2.</summary>
    public bool Narrow { get; init; }
}

internal static class Errors
{
    /// <summary>Largest |actual − expected| ÷ root mean square of expected.</summary>
    internal static double Relative(ReadOnlySpan<float> actual, ReadOnlySpan<double> expected)
    {
        double sum = 0, worst = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            sum += expected[i] * expected[i];
            double difference = Math.Abs(actual[i] - expected[i]);
            if (!(difference <= worst)) worst = difference;
        }
        return worst / Math.Sqrt(sum / expected.Length);
    }
}
