namespace KernelContrast;

/// <summary>
/// The k best of a set of candidates: a binary heap whose root is the worst kept. The more similar is better, of equals the
/// lower index; what is kept does not depend on the order of offers. Similarities are numbers, never NaN.
/// </summary>
internal ref struct TopKHeap(Span<int> indices, Span<float> similarities, int count)
{
    private readonly Span<int> _indices = indices;
    private readonly Span<float> _similarities = similarities;

    /// <summary>How many are kept, at most k.</summary>
    internal int Count { get; private set; } = count;

    /// <summary>Only what is above it, or as good with a lower index, can get in.</summary>
    internal readonly float Threshold => Count < _indices.Length ? -float.MaxValue : _similarities[0];

    internal void Offer(float similarity, int index)
    {
        if (Count < _indices.Length)
        {
            int at = Count++;
            (_indices[at], _similarities[at]) = (index, similarity);
            for (int parent; at > 0 && Worse(at, parent = (at - 1) / 2); at = parent) Swap(at, parent);
        }
        else if (similarity > _similarities[0] || (similarity == _similarities[0] && index < _indices[0]))
        {
            (_indices[0], _similarities[0]) = (index, similarity);
            Sink(0, Count);
        }
    }

    /// <summary>Best first. The heap is none any more.</summary>
    internal readonly void Sort()
    {
        for (int end = Count - 1; end > 0; end--)
        {
            Swap(0, end);
            Sink(0, end);
        }
    }

    private readonly bool Worse(int a, int b) => _similarities[a] < _similarities[b]
        || (_similarities[a] == _similarities[b] && _indices[a] > _indices[b]);

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
