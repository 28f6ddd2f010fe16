namespace KernelContrast.Losses;

/// <summary>
/// InfoNCE (van den Oord et al. 2018, equation 4) of queries against keys, as MoCo v3 has it, computed tile by tile.
/// </summary>
public static class InfoNce
{
    /// <summary>
    /// loss_i = log Σ_j exp(s_ij/τ) − s_ii/τ, where s_ij is the cosine similarity of query i and key j: across views only.
    /// </summary>
    /// <param name="queries">[rows, dim].</param>
    /// <param name="keys">[columns, dim]: key i belongs to query i; keys beyond the rows are negatives.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [columns], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <param name="scaleBy2Tau">Multiply the loss by 2τ, as MoCo v3's code does (Chen et al. 2021); a learned τ then gets that factor's gradient too.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>. Keys that all agree give ln(columns).</returns>
    /// <exception cref="ArgumentException">There are fewer keys than queries, or τ is no positive finite number.</exception>
    public static Tensor Loss(Tensor queries, Tensor keys, float temperature, Reduction reduction = Reduction.Mean,
        bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null, bool scaleBy2Tau = false)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        return InfoNceOp.Apply(queries, keys, temperature, null, reduction, normalize, precision, labels, scaleBy2Tau);
    }

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, Tensor, float, Reduction, bool, Precision, Tensor, bool)"/>
    public static Tensor Loss(Tensor queries, Tensor keys, Tensor temperature, Reduction reduction = Reduction.Mean,
        bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null, bool scaleBy2Tau = false)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(temperature);
        return InfoNceOp.Apply(queries, keys, 1, temperature, reduction, normalize, precision, labels, scaleBy2Tau);
    }
}
