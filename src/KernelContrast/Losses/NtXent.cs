namespace KernelContrast.Losses;

/// <summary>
/// The normalized temperature-scaled cross entropy of SimCLR (Chen et al. 2020, equation 1), computed tile by tile:
/// no N×N matrix of similarities is needed, and beyond 64 MiB none is stored.
/// </summary>
public static class NtXent
{
    /// <summary>
    /// loss = mean over all rows i of −log( exp(s_ip/τ) / Σ_{k≠i} exp(s_ik/τ) ), where s_ij is the cosine similarity of
    /// rows i and j and p the partner of i.
    /// </summary>
    /// <param name="embeddings">
    /// [rows, dim], rows even; not normalised: the loss divides each row by its norm. Only an all-zero row has no
    /// direction; its similarities and its gradient are 0. NaN or infinite elements make the loss NaN.
    /// </param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="layout">Which rows are pairs.</param>
    /// <param name="reduction">Mean, sum, or each row's loss.</param>
    /// <param name="normalize">Whether rows are divided by their norm first; gradients go back through it.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <param name="labels">Int32 [rows], or null: rows of one label are no negatives of each other; negative labels equal no other.</param>
    /// <returns>A scalar, or [rows] with <see cref="Reduction.None"/>. A batch whose rows all agree gives ln(rows − 1).</returns>
    /// <remarks>
    /// The mean is over rows, each of which sees its partner once; the SimCLR authors' code returns the sum of the means
    /// of both views, which is twice this.
    /// </remarks>
    /// <exception cref="ArgumentException">
    /// The rows are odd or fewer than 2, there are no columns, or τ is no positive finite number.
    /// </exception>
    public static Tensor Loss(Tensor embeddings, float temperature = 0.5f, PairLayout layout = PairLayout.Halves,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null) =>
        NtXentOp.Apply(embeddings, temperature, null, layout, reduction, normalize, precision, labels);

    /// <summary>The same with a temperature that may be learned: a tensor of one element, which gets a gradient.</summary>
    /// <inheritdoc cref="Loss(Tensor, float, PairLayout, Reduction, bool, Precision, Tensor)"/>
    public static Tensor Loss(Tensor embeddings, Tensor temperature, PairLayout layout = PairLayout.Halves,
        Reduction reduction = Reduction.Mean, bool normalize = true, Precision precision = Precision.Float32, Tensor? labels = null)
    {
        ArgumentNullException.ThrowIfNull(temperature);
        return NtXentOp.Apply(embeddings, 1, temperature, layout, reduction, normalize, precision, labels);
    }

    /// <summary>
    /// The loss and its gradient on the CPU, without tensors or a tape. After the first call of a size, nothing is
    /// allocated.
    /// </summary>
    /// <param name="embeddings">rows · dim elements, row-major; not normalised.</param>
    /// <param name="rows">Two per pair.</param>
    /// <param name="dim">Columns.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <param name="layout">Which rows are pairs.</param>
    /// <param name="gradient">
    /// Overwritten with ∂loss/∂embeddings; as many elements as <paramref name="embeddings"/>, or none to have the loss only.
    /// </param>
    /// <returns>The loss, as <see cref="Loss(Tensor, float, PairLayout, Reduction, bool, Precision, Tensor)"/> defines it.</returns>
    /// <exception cref="ArgumentException">As for a tensor, or a span's length is not rows · dim.</exception>
    public static double LossAndGradient(ReadOnlySpan<float> embeddings, int rows, int dim, float temperature, PairLayout layout, Span<float> gradient)
    {
        var call = new LossCall(LossKind.NtXent, rows, 0, dim, temperature) { Layout = layout };
        return call.Run(new() { Embeddings = embeddings, GradEmbeddings = gradient }).Loss;
    }

    /// <summary>Says which row of a batch is the first that holds NaN or infinity. Reads device memory: for debugging.</summary>
    /// <exception cref="ArgumentException">There is one.</exception>
    public static void CheckFinite(Tensor embeddings)
    {
        ArgumentNullException.ThrowIfNull(embeddings);
        Check.Floats("nt-xent", embeddings);
        Check.Rank("nt-xent", embeddings, 2);
        CheckFinite(embeddings.ToArray(), embeddings.Shape[1]);
    }

    /// <summary>Says which row of a batch, given row-major with <paramref name="dim"/> columns, is the first that holds NaN or infinity.</summary>
    /// <exception cref="ArgumentException">There is one.</exception>
    public static void CheckFinite(ReadOnlySpan<float> embeddings, int dim)
    {
        for (int i = 0; i < embeddings.Length; i++)
        {
            if (!float.IsFinite(embeddings[i]))
                throw new ArgumentException($"nt-xent: row {i / dim} of the embeddings holds {embeddings[i]} in column {i % dim}; the loss would be NaN.");
        }
    }
}
