using System.Numerics.Tensors;

namespace KernelContrast.Evaluation;

/// <summary>One row of numbers per image: pixels, or what an encoder makes of them. Held in memory, float32, row-major.</summary>
public sealed class FeatureMatrix
{
    /// <summary>A matrix over <paramref name="values"/>, which are not copied.</summary>
    /// <param name="values">[rows, dim], row-major.</param>
    /// <param name="rows">Number of images.</param>
    /// <param name="dim">Numbers per image, at least 1.</param>
    /// <exception cref="ArgumentException">The number of values is not rows × dim.</exception>
    public FeatureMatrix(float[] values, int rows, int dim)
    {
        ArgumentNullException.ThrowIfNull(values);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfLessThan(dim, 1);
        if (values.Length != (long)rows * dim)
            throw new ArgumentException($"Features of shape [{rows}, {dim}] have {(long)rows * dim} numbers, but {values.Length} were given.");
        (Values, Rows, Dim) = (values, rows, dim);
    }

    /// <summary>[Rows, Dim], row-major.</summary>
    public float[] Values { get; }

    /// <summary>Number of images.</summary>
    public int Rows { get; }

    /// <summary>Numbers per image.</summary>
    public int Dim { get; }

    /// <summary>The features of image <paramref name="index"/>.</summary>
    public ReadOnlySpan<float> Row(int index) => Values.AsSpan(index * Dim, Dim);

    /// <summary>A copy of some rows, in the order given.</summary>
    public FeatureMatrix Take(ReadOnlySpan<int> indices)
    {
        var values = new float[(long)indices.Length * Dim];
        for (int i = 0; i < indices.Length; i++) Row(indices[i]).CopyTo(values.AsSpan(i * Dim, Dim));
        return new FeatureMatrix(values, indices.Length, Dim);
    }

    /// <summary>
    /// A copy with rows of length 1, the norm taken after scaling by the largest magnitude; a row of zeros stays one.
    /// Euclidean distances between such rows order them as cosine similarity does.
    /// </summary>
    public FeatureMatrix Normalized()
    {
        var values = new float[Values.Length];
        Device.Cpu.Workers.ForRanges(Rows, 64, (from, to) =>
        {
            for (int row = (int)from; row < to; row++) Normalize(Row(row), values.AsSpan(row * Dim, Dim));
        });
        return new FeatureMatrix(values, Rows, Dim);
    }

    internal static void Normalize(ReadOnlySpan<float> row, Span<float> unit)
    {
        row.CopyTo(unit);
        float largest = MathF.Abs(TensorPrimitives.MaxMagnitude<float>(unit));
        if (largest == 0) return;
        TensorPrimitives.Divide(unit, largest, unit);
        TensorPrimitives.Divide(unit, TensorPrimitives.Norm<float>(unit), unit);
    }

    /// <summary>Throws when a number is NaN or infinite, naming its row.</summary>
    internal void CheckFinite(string what)
    {
        int at = Values.AsSpan().IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
        if (at >= 0)
            throw new ArgumentException($"{what}: row {at / Dim} holds {Values[at]} in column {at % Dim}. "
                + "An encoder gives such numbers after its training diverged; train it again with a lower learning rate.");
    }

    /// <summary>Throws unless there is one label in [0, classes) per row.</summary>
    internal void CheckLabels(string what, ReadOnlySpan<int> labels, int classes)
    {
        if (labels.Length != Rows)
            throw new ArgumentException($"{what}: {Rows} rows of features, but {labels.Length} labels.");
        int wrong = labels.IndexOfAnyExceptInRange(0, classes - 1);
        if (wrong >= 0)
            throw new ArgumentException($"{what}: label {labels[wrong]} of row {wrong} is no class from 0 to {classes - 1}.");
    }

    /// <summary>Throws unless both have the same number of columns.</summary>
    internal void CheckSameDim(FeatureMatrix other, string mine, string theirs)
    {
        if (Dim != other.Dim)
            throw new ArgumentException($"The {mine} features have {Dim} columns, the {theirs} features {other.Dim}; both must come from the same encoder.");
    }
}
