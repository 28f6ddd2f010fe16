namespace KernelContrast.Evaluation;

internal static class Accuracy
{
    /// <summary>The share, in [0, 1], of predictions that are the label; NaN of none.</summary>
    internal static double Of(ReadOnlySpan<int> predicted, ReadOnlySpan<int> labels)
    {
        int right = 0;
        for (int i = 0; i < labels.Length; i++)
            if (predicted[i] == labels[i]) right++;
        return (double)right / labels.Length;
    }
}

internal static class Sampling
{
    /// <summary>Fisher–Yates.</summary>
    internal static void Shuffle(Span<int> items, PhiloxStream random)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = random.NextInt32(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
