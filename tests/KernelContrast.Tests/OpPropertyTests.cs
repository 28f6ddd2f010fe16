using CsCheck;

namespace KernelContrast.Tests;

/// <summary>Laws that hold for every shape, on generated ones.</summary>
[TestFixture]
internal sealed class OpPropertyTests
{
    private static readonly Gen<Shape> Shapes = Gen.Int[1, 5].Array[0, 5].Select(sizes => new Shape(sizes));

    private static readonly Gen<Shape> NonScalars = Gen.Int[1, 5].Array[1, 5].Select(sizes => new Shape(sizes));

    private static Tensor Numbered(Shape shape) =>
        Tensor.From<float>([.. Enumerable.Range(1, (int)shape.Count).Select(i => (float)i)], shape);

    [Test]
    public void Broadcasting_repeats_sizes_of_1_and_its_gradient_sums_them() =>
        Gen.Select(Shapes, Gen.Bool.Array[5], Gen.Bool.Array[5], Gen.Int[0, 5], Gen.Bool).Sample((shape, onesA, onesB, dropped, swap) =>
        {
            using var scope = new TensorScope();
            var sizesA = shape.Sizes.ToArray().Select((s, i) => onesA[i] ? 1 : s).ToArray();
            var sizesB = shape.Sizes.ToArray().Select((s, i) => onesB[i] ? 1 : s).Skip(Math.Min(dropped, shape.Rank)).ToArray();
            Tensor a = Numbered(new(sizesA)), b = Numbered(new(sizesB));
            if (swap) (a, b) = (b, a);
            a.RequiresGrad = b.RequiresGrad = true;
            Shape common = Cases.ElementwiseCases.Common(a.Shape, b.Shape);
            int[] indexA = Cases.ElementwiseCases.Indices(common, a.Shape), indexB = Cases.ElementwiseCases.Indices(common, b.Shape);

            Tensor y = Functional.Mul(a, b);
            Assert.That(y.Shape, Is.EqualTo(common));
            Assert.That(y.ToArray(), Is.EqualTo(indexA.Zip(indexB, (i, j) => (i + 1f) * (j + 1f))));
            y.Backward(Tensor.Full(common, 1));
            var expected = new double[a.Count];
            for (int e = 0; e < indexA.Length; e++) expected[indexA[e]] += indexB[e] + 1;
            Assert.That(a.Grad!.ToArray().Select(v => (double)v), Is.EqualTo(expected));
            // a − b − (−b) is a, repeated
            Assert.That(Functional.Subtract(Functional.Subtract(a, b), Functional.Scale(b, -1)).ToArray(), Is.EqualTo(indexA.Select(i => i + 1f)));
        }, iter: 300);

    [Test]
    public void Reshape_keeps_row_major_order_there_and_back() =>
        Gen.Select(Shapes, Gen.Int[0, 119]).Sample((shape, order) =>
        {
            using var scope = new TensorScope();
            Tensor x = Numbered(shape);
            x.RequiresGrad = true;
            // the same sizes in another order, split or joined
            List<int> sizes = [.. shape.Sizes];
            if (sizes.Count > 1 && order % 2 == 0) (sizes[0], sizes[^1]) = (sizes[^1], sizes[0]);
            if (sizes.Count > 2 && order % 3 == 0) { sizes[0] *= sizes[1]; sizes.RemoveAt(1); }
            if (order % 5 == 0) sizes.Insert(sizes.Count / 2, 1);
            Tensor y = Functional.Reshape(x, new([.. sizes]));
            Assert.That(y.ToArray(), Is.EqualTo(x.ToArray()));
            Assert.That(Functional.Reshape(y, shape).ToArray(), Is.EqualTo(x.ToArray()));
            y.Backward(Numbered(y.Shape));
            Assert.That(x.Grad!.ToArray(), Is.EqualTo(x.ToArray()));
        }, iter: 300);

    [Test]
    public void Slices_put_together_again_are_the_whole_with_its_gradient() =>
        Gen.Select(NonScalars, Gen.Int[0, 4], Gen.Int[0, 5], Gen.Bool).Sample((shape, at, cut, fromEnd) =>
        {
            using var scope = new TensorScope();
            int dim = at % shape.Rank, size = shape[dim], first = Math.Min(cut, size);
            if (fromEnd) dim -= shape.Rank;
            Tensor x = Numbered(shape);
            x.RequiresGrad = true;
            Tensor left = Functional.Slice(x, dim, 0, first), right = Functional.Slice(x, dim, first, size - first);
            Tensor whole = Functional.Concat([left, right], dim);
            Assert.That(whole.Shape, Is.EqualTo(shape));
            Assert.That(whole.ToArray(), Is.EqualTo(x.ToArray()));
            whole.Backward(Numbered(shape));
            Assert.That(x.Grad!.ToArray(), Is.EqualTo(x.ToArray()));
        }, iter: 300);

    [Test]
    public void Transposing_twice_changes_nothing() =>
        Gen.Select(Gen.Int[0, 70], Gen.Int[0, 70]).Sample((rows, columns) =>
        {
            using var scope = new TensorScope();
            Tensor x = Numbered(new(rows, columns)), y = Functional.Transpose(x);
            float[] values = x.ToArray(), turned = y.ToArray();
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                    if (turned[j * rows + i] != values[i * columns + j]) Assert.Fail($"[{j}, {i}] of {y.Shape}");
            Assert.That(Functional.Transpose(y).ToArray(), Is.EqualTo(values));
        }, iter: 100);

    [Test]
    public void Softmax_rows_sum_to_1_and_ignore_a_common_offset() =>
        Gen.Select(Gen.Int[1, 6], Gen.Int[1, 70], Gen.ULong, Gen.Int[-50, 50]).Sample((rows, dim, seed, offset) =>
        {
            using var scope = new TensorScope();
            Tensor x = Tensor.RandomNormal(new(rows, dim), seed), y = Functional.Softmax(x);
            foreach (float[] row in y.ToArray().Chunk(dim)) Assert.That(row.Sum(v => (double)v), Is.EqualTo(1).Within(1e-5));
            float[] shifted = Functional.Softmax(Functional.Add(x, Tensor.Full(new(), offset))).ToArray();
            Assert.That(shifted, Is.EqualTo(y.ToArray()).Within(1e-5f));
        }, iter: 100);
}
