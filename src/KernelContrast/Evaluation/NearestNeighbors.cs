namespace KernelContrast.Evaluation;

/// <summary>The nearest rows of a set for each query, nearest first.</summary>
/// <param name="K">Neighbours per query: what was asked for, or the whole set when it is smaller.</param>
/// <param name="Indices">[queries, K] rows of the set.</param>
/// <param name="Similarities">[queries, K] cosine similarities.</param>
public sealed record Neighbors(int K, int[] Indices, float[] Similarities);

/// <summary>
/// Exact nearest neighbours by cosine similarity, by <see cref="Functional.CosineTopK"/>'s kernels: memory grows with rows,
/// never with queries × set.
/// </summary>
public static class NearestNeighbors
{
    /// <summary>Finds the <paramref name="k"/> rows of <paramref name="set"/> most similar to each query.</summary>
    /// <param name="set">[M, D], at least one row.</param>
    /// <param name="queries">[N, D]; may be of the set itself, then each finds itself too.</param>
    /// <param name="k">Neighbours wanted; more than M are M.</param>
    /// <remarks>
    /// A row of zeros has similarity 0 to everything. Among equally similar rows the first comes first, so that the
    /// result is the same for any number of threads.
    /// </remarks>
    /// <exception cref="ArgumentException">The columns differ, the set is empty, or a feature is not finite.</exception>
    public static Neighbors Find(FeatureMatrix set, FeatureMatrix queries, int k)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        set.CheckSameDim(queries, "set's", "queries'");
        if (set.Rows == 0) throw new ArgumentException("Nearest neighbours need at least one row to search in.");
        set.CheckFinite("nearest neighbours, set");
        queries.CheckFinite("nearest neighbours, queries");

        k = Math.Min(k, set.Rows);
        var indices = new int[checked(queries.Rows * k)];
        var similarities = new float[indices.Length];
        new CosineTopKCall(queries.Rows, set.Rows, set.Dim, k).Run(queries.Values, set.Values, indices, similarities);
        return new Neighbors(k, indices, similarities);
    }
}
