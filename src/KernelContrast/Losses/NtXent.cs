namespace KernelContrast.Losses;

/// <summary>
/// The normalized temperature-scaled cross entropy of SimCLR (Chen et al. 2020, equation 1), computed tile by tile:
/// no N×N matrix of similarities is ever stored.
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
    /// <returns>A scalar. A batch whose rows all agree gives ln(rows − 1).</returns>
    /// <remarks>
    /// The mean is over rows, each of which sees its partner once; the SimCLR authors' code returns the sum of the means
    /// of both views, which is twice this.
    /// </remarks>
    /// <exception cref="ArgumentException">
    /// The rows are odd or fewer than 2, there are no columns, or τ is no positive finite number.
    /// </exception>
    public static Tensor Loss(Tensor embeddings, float temperature = 0.5f, PairLayout layout = PairLayout.Halves) =>
        NtXentOp.Apply(embeddings, temperature, layout);
}
