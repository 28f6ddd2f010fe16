namespace KernelContrast.Cli;

/// <summary>Numbers of things in words: "1 image", "2 images".</summary>
internal static class Counted
{
    internal static string Of(long count, string noun) => $"{count} {noun}{(count == 1 ? "" : "s")}";
}
