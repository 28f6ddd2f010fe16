namespace KernelContrast.Losses;

/// <summary>
/// The decoupled contrastive loss (Yeh et al. 2022): <see cref="NtXent"/> whose denominator leaves the partner out, computed
/// tile by tile.
/// </summary>
public static class Dcl
{
    /// <summary>
    /// loss_i = log Σ_{j ≠ i, p} exp(s_ij/τ) − s_ip/τ, where s_ij is the cosine similarity of rows i and j and p the partner of i:
    /// one logarithm over the 2N−2 negatives of both views.
    /// </summary>
    /// <param name="embeddings">[rows, dim], rows even and at least 4.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="layout">Which rows are pairs.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [rows], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>. A batch whose rows all agree gives ln(rows − 2).</returns>
    /// <exception cref="ArgumentException">The rows are odd or fewer than 4, there are no columns, or τ is no positive finite number.</exception>
    public static Tensor Loss(Tensor embeddings, float temperature, PairLayout layout = PairLayout.Halves,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null) =>
        DclOp.Apply(embeddings, temperature, null, layout, reduction, normalize, precision, labels);

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, float, PairLayout, Reduction, bool, Precision, Tensor)"/>
    public static Tensor Loss(Tensor embeddings, Tensor temperature, PairLayout layout = PairLayout.Halves,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(temperature);
        return DclOp.Apply(embeddings, 1, temperature, layout, reduction, normalize, precision, labels);
    }
}
