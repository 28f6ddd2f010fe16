namespace KernelContrast.Losses;

/// <summary>
/// CLIP's loss (Radford et al. 2021, figure 3): <see cref="InfoNce"/> of images against texts and of texts against images,
/// both from one pass over the similarities.
/// </summary>
/// <remarks>The bound of 100 on the scale 1/τ is no part of the loss.</remarks>
public static class Clip
{
    /// <summary>
    /// loss_i = ½ (log Σ_j exp(s_ij/τ) − s_ii/τ) + ½ (log Σ_j exp(s_ji/τ) − s_ii/τ).
    /// </summary>
    /// <param name="images">[rows, dim].</param>
    /// <param name="texts">[rows, dim]: text i belongs to image i.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [rows], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>. Pairs that all agree give ln(rows).</returns>
    /// <exception cref="ArgumentException">There are not as many texts as images, or τ is no positive finite number.</exception>
    public static Tensor Loss(Tensor images, Tensor texts, float temperature, Reduction reduction = Reduction.Mean,
        bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(texts);
        return ClipOp.Apply(images, texts, temperature, null, reduction, normalize, precision, labels);
    }

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, Tensor, float, Reduction, bool, Precision, Tensor)"/>
    public static Tensor Loss(Tensor images, Tensor texts, Tensor temperature, Reduction reduction = Reduction.Mean,
        bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentNullException.ThrowIfNull(temperature);
        return ClipOp.Apply(images, texts, 1, temperature, reduction, normalize, precision, labels);
    }
}
