namespace KernelContrast.Losses;

/// <summary>What becomes of the losses of a batch's rows.</summary>
public enum Reduction
{
    /// <summary>Their mean over the rows that count (all, unless a loss says otherwise; 0 when none does).</summary>
    Mean,

    /// <summary>Their sum.</summary>
    Sum,

    /// <summary>They stay apart: [rows].</summary>
    None,
}
