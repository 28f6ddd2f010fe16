using System.Collections;

namespace KernelContrast;

/// <summary>The sizes of a tensor's dimensions, outermost first. A scalar has none.</summary>
public readonly struct Shape : IEquatable<Shape>, IReadOnlyList<int>
{
    private readonly int[]? _sizes;

    /// <summary>A shape of these sizes.</summary>
    /// <exception cref="ArgumentException">A size is negative, or the product exceeds 2⁴⁷.</exception>
    public Shape(params ReadOnlySpan<int> sizes)
    {
        long count = 1;
        foreach (int size in sizes)
        {
            if (size < 0) throw new ArgumentException($"A shape has no negative sizes, but got [{string.Join(", ", sizes.ToArray())}].");
            count = Math.Min(count, long.MaxValue >> 32) * size;
        }
        if (count > 1L << 47) throw new ArgumentException($"The shape [{string.Join(", ", sizes.ToArray())}] is too large.");
        _sizes = sizes.ToArray();
    }

    /// <summary>Number of dimensions.</summary>
    public int Rank => _sizes?.Length ?? 0;

    /// <summary>Number of elements.</summary>
    public long Count
    {
        get
        {
            long count = 1;
            foreach (int size in Sizes) count *= size;
            return count;
        }
    }

    /// <summary>The size of a dimension; negative indices count from the last.</summary>
    public int this[int dimension] => Sizes[dimension < 0 ? dimension + Rank : dimension];

    /// <summary>All sizes.</summary>
    public ReadOnlySpan<int> Sizes => _sizes;

    int IReadOnlyCollection<int>.Count => Rank;

    /// <inheritdoc/>
    public bool Equals(Shape other) => Sizes.SequenceEqual(other.Sizes);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (int size in Sizes) hash.Add(size);
        return hash.ToHashCode();
    }

    /// <summary>Equality of all sizes.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>Inequality of any size.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    /// <inheritdoc/>
    public override string ToString() => $"[{string.Join(", ", Sizes.ToArray())}]";

    IEnumerator<int> IEnumerable<int>.GetEnumerator() => ((IEnumerable<int>)(_sizes ?? [])).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => (_sizes ?? []).GetEnumerator();
}
