namespace KernelContrast.Losses;

/// <summary>
/// SigLIP's loss (Zhai et al. 2023, algorithm 1): each pair of image and text is told to belong together or not, by itself.
/// </summary>
public static class SigLip
{
    /// <summary>
    /// loss_i = log(1 + exp(−x_ii)) + Σ_{j ≠ i} log(1 + exp(x_ij)) with logits x_ij = s_ij/τ + b: the mean is the sum over all
    /// pairs divided by the rows.
    /// </summary>
    /// <param name="images">[rows, dim].</param>
    /// <param name="texts">[columns, dim]: text i belongs to image i; texts beyond the rows belong to none.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="bias">b; the authors start at −10.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [columns], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>.</returns>
    /// <exception cref="ArgumentException">There are fewer texts than images, τ is no positive finite number, or b is not finite.</exception>
    public static Tensor Loss(Tensor images, Tensor texts, float temperature, float bias,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(texts);
        return SigLipOp.Apply(images, texts, temperature, null, bias, null, reduction, normalize, precision, labels);
    }

    /// <summary>The same with scalars that may be learned: τ and b as tensors of one element, which get gradients.</summary>
    /// <inheritdoc cref="Loss(Tensor, Tensor, float, float, Reduction, bool, Precision, Tensor)"/>
    public static Tensor Loss(Tensor images, Tensor texts, Tensor temperature, Tensor bias,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentNullException.ThrowIfNull(temperature);
        ArgumentNullException.ThrowIfNull(bias);
        return SigLipOp.Apply(images, texts, 1, temperature, 0, bias, reduction, normalize, precision, labels);
    }
}
