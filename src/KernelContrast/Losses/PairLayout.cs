namespace KernelContrast.Losses;

/// <summary>Where in a batch of N rows (N/2 pairs of views) the partner of a row stands.</summary>
public enum PairLayout
{
    /// <summary>Row i pairs with row i + N/2: first every first view, then every second.</summary>
    Halves,

    /// <summary>Row 2i pairs with row 2i + 1.</summary>
    Interleaved,
}
