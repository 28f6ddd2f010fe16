namespace KernelContrast.Evaluation;

/// <summary>The nearest rows of a set for each query, nearest first.</summary>
/// <param name="K">Neighbours per query: what was asked for, or the whole set when it is smaller.</param>
/// <param name="Indices">[queries, K] rows of the set.</param>
/// <param name="Similarities">[queries, K] cosine similarities.</param>
public sealed record Neighbors(int K, int[] Indices, float[] Similarities);

/// <summary>
/// Exact nearest neighbours by cosine similarity. The similarities are made tile by tile and forgotten: memory grows
/// with queries × k, never with queries × set.
/// </summary>
public static class NearestNeighbors
{
    private const int QueriesPerTile = 512;
    private const int KeysPerTile = 2048;

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
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        set.CheckSameDim(queries, "set's", "queries'");
        if (set.Rows == 0) throw new ArgumentException("Nearest neighbours need at least one row to search in.");
        set.CheckFinite("nearest neighbours, set");
        queries.CheckFinite("nearest neighbours, queries");

        k = Math.Min(k, set.Rows);
        var indices = new int[checked(queries.Rows * k)];
        var similarities = new float[indices.Length];
        using var detached = new NoGrad();
        for (int firstKey = 0; firstKey < set.Rows; firstKey += KeysPerTile)
        {
            using Tensor keys = NormalizedRows(set, firstKey, Math.Min(KeysPerTile, set.Rows - firstKey));
            for (int firstQuery = 0; firstQuery < queries.Rows; firstQuery += QueriesPerTile)
            {
                using Tensor block = NormalizedRows(queries, firstQuery, Math.Min(QueriesPerTile, queries.Rows - firstQuery));
                using Tensor tile = Functional.MatMul(block, keys, transposeB: true);
                Merge(tile, firstQuery, firstKey, k, indices, similarities);
            }
        }
        Device.Cpu.Workers.ForRanges(queries.Rows, 16, (from, to) =>
        {
            for (long query = from; query < to; query++)
                new TopK(indices.AsSpan((int)query * k, k), similarities.AsSpan((int)query * k, k), k).Sort();
        });
        return new Neighbors(k, indices, similarities);
    }

    /// <summary>Rows divided by their norm, which is taken after scaling by the largest magnitude.</summary>
    private static unsafe Tensor NormalizedRows(FeatureMatrix features, int first, int count)
    {
        Tensor rows = Tensor.Empty(new(count, features.Dim), Device.Cpu);
        nint to = rows.Pointer;
        Device.Cpu.Workers.ForRanges(count, 64, (from, end) =>
        {
            for (int row = (int)from; row < end; row++)
                FeatureMatrix.Normalize(features.Row(first + row), new Span<float>((float*)to + (long)row * features.Dim, features.Dim));
        });
        return rows;
    }

    private static unsafe void Merge(Tensor tile, int firstQuery, int firstKey, int k, int[] indices, float[] similarities)
    {
        int count = tile.Shape[0], width = tile.Shape[1];
        nint values = tile.Pointer;
        Device.Cpu.Workers.ForRanges(count, 16, (from, to) =>
        {
            for (int row = (int)from; row < to; row++)
            {
                int at = (firstQuery + row) * k;
                var top = new TopK(indices.AsSpan(at, k), similarities.AsSpan(at, k), Math.Min(k, firstKey));
                top.Offer(new ReadOnlySpan<float>((float*)values + (long)row * width, width), firstKey);
            }
        });
    }

    /// <summary>
    /// The k best of a row of candidates that come in order of their index: a binary heap whose root is the worst kept.
    /// </summary>
    internal ref struct TopK(Span<int> indices, Span<float> similarities, int count)
    {
        private readonly Span<int> _indices = indices;
        private readonly Span<float> _similarities = similarities;
        private int _count = count;

        internal void Offer(ReadOnlySpan<float> candidates, int first)
        {
            int i = 0;
            for (; i < candidates.Length && _count < _indices.Length; i++)
            {
                (_indices[_count], _similarities[_count]) = (first + i, candidates[i]);
                Rise(_count++);
            }
            // An equal one comes later in the set, so only a better one gets in. Few do once the heap is warm, and the
            // others are passed over a vector at a time.
            int width = System.Numerics.Vector<float>.Count;
            while (i < candidates.Length)
            {
                var worst = new System.Numerics.Vector<float>(_similarities[0]);
                while (i + width <= candidates.Length
                    && !System.Numerics.Vector.GreaterThanAny(new System.Numerics.Vector<float>(candidates[i..]), worst)) i += width;
                int stop = Math.Min(i + width, candidates.Length);
                for (; i < stop; i++)
                {
                    if (candidates[i] <= _similarities[0]) continue;
                    (_indices[0], _similarities[0]) = (first + i, candidates[i]);
                    Sink(0, _count);
                }
            }
        }

        /// <summary>Most similar first.</summary>
        internal void Sort()
        {
            for (int end = _count - 1; end > 0; end--)
            {
                Swap(0, end);
                Sink(0, end);
            }
        }

        private readonly bool Worse(int a, int b) => _similarities[a] < _similarities[b]
            || (_similarities[a] == _similarities[b] && _indices[a] > _indices[b]);

        private readonly void Rise(int at)
        {
            for (int parent; at > 0 && Worse(at, parent = (at - 1) / 2); at = parent) Swap(at, parent);
        }

        private readonly void Sink(int at, int end)
        {
            while (true)
            {
                int worst = at, left = 2 * at + 1;
                if (left < end && Worse(left, worst)) worst = left;
                if (left + 1 < end && Worse(left + 1, worst)) worst = left + 1;
                if (worst == at) return;
                Swap(at, worst);
                at = worst;
            }
        }

        private readonly void Swap(int a, int b)
        {
            (_indices[a], _indices[b]) = (_indices[b], _indices[a]);
            (_similarities[a], _similarities[b]) = (_similarities[b], _similarities[a]);
        }
    }
}
