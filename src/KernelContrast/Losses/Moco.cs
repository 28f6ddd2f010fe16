namespace KernelContrast.Losses;

/// <summary>
/// MoCo's loss (He et al. 2020, equation 1): each query against its key and a queue of negatives.
/// </summary>
public static class Moco
{
    /// <summary>
    /// loss_i = log(exp(q_i·k_i/τ) + Σ_j exp(q_i·n_j/τ)) − q_i·k_i/τ, of normalised queries q, keys k and rows n of the queue.
    /// Only the queries get a gradient.
    /// </summary>
    /// <param name="queries">[rows, dim].</param>
    /// <param name="keys">[rows, dim]: key i is the positive of query i. Cut from the tape.</param>
    /// <param name="queue">[columns, dim]: negatives of every query. Cut from the tape.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [rows + columns, the queue's last], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>. Rows that all agree give ln(columns + 1).</returns>
    /// <exception cref="ArgumentException">The keys are not one per query, keys or queue want a gradient, the queue is empty, or τ is no positive finite number.</exception>
    public static Tensor Loss(Tensor queries, Tensor keys, Tensor queue, float temperature,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(queue);
        return MocoOp.Apply(queries, keys, queue, temperature, null, reduction, normalize, precision, labels);
    }

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, Tensor, Tensor, float, Reduction, bool, Precision, Tensor)"/>
    public static Tensor Loss(Tensor queries, Tensor keys, Tensor queue, Tensor temperature,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32,
        Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(queue);
        ArgumentNullException.ThrowIfNull(temperature);
        return MocoOp.Apply(queries, keys, queue, 1, temperature, reduction, normalize, precision, labels);
    }
}
