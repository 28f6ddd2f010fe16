using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>More tiles of lines than CUDA allows blocks along a grid's y, which the emulated driver refuses as a GPU does. Rows are as short as the kernels take them.</summary>
[TestFixture]
internal sealed class LongGridTests
{
    private const int Edge = 64, Lines = Edge * LaunchShape.MostGridY + 3, Pitch = 4;

    private static readonly int SharedBytes = ContrastPlan.TileOf(null, Precision.Float32, Lines, 1, symmetric: false).SharedBytes;

    [TestCase(Edge * LaunchShape.MostGridY, 65, 2, LaunchShape.MostGridY, false)]
    [TestCase(Edge * LaunchShape.MostGridY + 1, 65, LaunchShape.MostGridY + 1, 2, true)]
    [TestCase(65, int.MaxValue, 1 << 25, 2, false), TestCase(int.MaxValue, 65, 1 << 25, 2, true)]
    public void A_grid_of_tiles_has_its_long_side_along_x(int lines, int columns, int x, int y, bool isExchanged)
    {
        LaunchShape grid = ContrastPlan.GridOf(lines, columns, Edge, SharedBytes, out bool exchanged);
        Assert.That((grid.GridX, grid.GridY, grid.GridZ, exchanged), Is.EqualTo((x, y, 1, isExchanged)));
    }

    /// <summary>The keys' gradient before the norm: out[l, d] = w_l z_d of one row z.</summary>
    [Test]
    public void A_product_has_any_number_of_lines()
    {
        using var scope = new TensorScope();
        Tensor weights = Tensor.Zeros(new((LaunchShape.MostGridY + 1) * Edge), TestDevice.Cuda), z = Tensor.From<float>([1, 2, -3, 0.5f], new(Pitch), TestDevice.Cuda);
        weights.CopyFrom(Tensor.From<float>([.. Enumerable.Range(0, (int)weights.Count).Select(l => l < Lines ? 1 + l % 1009 : 0f)], weights.Shape, TestDevice.Cuda));
        Tensor sums = Tensor.Full(new(Lines, Pitch), float.NaN, TestDevice.Cuda);
        var products = new ContrastProducts
        {
            Device = TestDevice.Cuda,
            Stream = 0,
            Precision = Precision.Float32,
            Variant = 0,
            Edge = Edge,
            SharedBytes = SharedBytes,
            Dim = Pitch,
            Pitch = Pitch,
            Weights = weights.Pointer,
            WeightsPitch = 0, // one row of weights for all depths; of z there is one only, and zeros
            Scalars = 0,
        };
        products.Product(sums.Pointer, z.Pointer, Lines, depth: 1, int.MaxValue, slices: 1, byColumn: true, accumulate: false);
        float[] got = sums.ToArray(), row = z.ToArray();
        int wrong = Enumerable.Range(0, got.Length).FirstOrDefault(e => got[e] != (1 + e / Pitch % 1009) * row[e % Pitch], -1);
        Assert.That(wrong, Is.EqualTo(-1), wrong < 0 ? "" : $"line {wrong / Pitch}: {got[wrong]}");
    }

    /// <summary>No depth, so that there is nothing to prepare: every similarity is written, as 0.</summary>
    [Test]
    public void A_matrix_of_similarities_has_any_number_of_rows()
    {
        using var scope = new TensorScope();
        Tensor rows = Tensor.Zeros(new(Pitch), TestDevice.Cuda), matrix = Tensor.Full(new(Lines, 1), float.NaN, TestDevice.Cuda);
        CosineSimilarityOp.Cuda.Multiply(TestDevice.Cuda, 0, (0, Edge, SharedBytes), new() { Similarities = matrix.Pointer, A = rows.Pointer, B = rows.Pointer, Rows = Lines, Columns = 1 });
        float[] got = matrix.ToArray();
        Assert.That(Array.FindIndex(got, s => s != 0), Is.EqualTo(-1));
    }
}
