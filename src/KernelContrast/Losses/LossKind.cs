namespace KernelContrast.Losses;

/// <summary>The losses of the streaming family.</summary>
public enum LossKind
{
    /// <summary><see cref="Losses.NtXent"/>: rows against all others, one partner each.</summary>
    NtXent,

    /// <summary><see cref="Losses.Dcl"/>: the same without the partner in the denominator.</summary>
    Dcl,

    /// <summary><see cref="Losses.SupCon"/>: rows against all others, partners by label.</summary>
    SupCon,

    /// <summary><see cref="Losses.InfoNce"/>: queries against keys.</summary>
    InfoNce,

    /// <summary><see cref="Losses.Clip"/>: queries against keys and keys against queries.</summary>
    Clip,

    /// <summary><see cref="Losses.SigLip"/>: a sigmoid for every pair.</summary>
    SigLip,

    /// <summary><see cref="Losses.Moco"/>: a query against its key and a queue of negatives.</summary>
    Moco,
}
