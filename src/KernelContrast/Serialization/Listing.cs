namespace KernelContrast;

/// <summary>Names in messages: the first few, and how many more.</summary>
internal static class Listing
{
    internal static string Of(IReadOnlyCollection<string> names, int most = 12)
    {
        if (names.Count == 0) return "none";
        string first = string.Join(", ", names.Take(most));
        return names.Count <= most ? first : $"{first} and {names.Count - most} more";
    }
}
