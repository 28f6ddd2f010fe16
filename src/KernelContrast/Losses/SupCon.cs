namespace KernelContrast.Losses;

/// <summary>
/// The supervised contrastive loss (Khosla et al. 2020, equation 2, L_out), computed tile by tile.
/// </summary>
/// <remarks>Without the factor τ/τ_base that the authors' code multiplies with.</remarks>
public static class SupCon
{
    /// <summary>
    /// loss_i = log Σ_{j ≠ i} exp(s_ij/τ) − mean of s_ip/τ over the other rows p of row i's label. A row without such contributes
    /// 0 and does not count in the mean; when there is none at all, loss and gradient are 0.
    /// </summary>
    /// <param name="embeddings">[rows, dim].</param>
    /// <param name="labels">Int32 [rows]; a negative label equals no other.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>.</returns>
    /// <exception cref="ArgumentException">The labels are not one per row, or τ is no positive finite number.</exception>
    public static Tensor Loss(Tensor embeddings, Tensor labels, float temperature,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32)
    {
        ArgumentNullException.ThrowIfNull(labels);
        return SupConOp.Apply(embeddings, labels, temperature, null, reduction, normalize, precision);
    }

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, Tensor, float, Reduction, bool, Precision)"/>
    public static Tensor Loss(Tensor embeddings, Tensor labels, Tensor temperature,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32)
    {
        ArgumentNullException.ThrowIfNull(labels);
        ArgumentNullException.ThrowIfNull(temperature);
        return SupConOp.Apply(embeddings, labels, 1, temperature, reduction, normalize, precision);
    }
}
