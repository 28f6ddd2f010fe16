namespace KernelContrast.Tests;

/// <summary>Wrong arguments are refused before any work, and the message says what is wrong on both sides.</summary>
[TestFixture]
internal sealed class OpErrorTests
{
    private static Tensor Matrix => Tensor.Full(new(3, 4), 1);

    private static Tensor Vector => Tensor.Full(new(5), 1);

    private static Tensor Map => Tensor.Full(new(1, 2, 3, 3), 1);

    private static Tensor Bad => Tensor.From<int>([0, 4, 1], new(3));

    private static Tensor Negative => Tensor.From<int>([0, 1, -1], new(3));

    private static IEnumerable<TestCaseData> Wrong()
    {
        yield return Case("shapes that do not broadcast", () => Functional.Add(Matrix, Vector), "[3, 4]", "[5]", "do not broadcast");
        yield return Case("feature map and its channels without pixels", () => Functional.Mul(Map, Tensor.Full(new(2), 1)), "[1, 2, 3, 3]", "[2]");
        yield return Case("integers", () => Functional.Subtract(Matrix, Bad), "Int32");
        yield return Case("a label too large", () => Functional.CrossEntropy(Matrix, Bad), "row 1", "4", "0 to 3");
        yield return Case("a negative label", () => Functional.CrossEntropy(Matrix, Negative), "row 2", "-1");
        yield return Case("labels of another count", () => Functional.CrossEntropy(Matrix, Tensor.From<int>([0], new(1))), "[1]", "[3]");
        yield return Case("float labels", () => Functional.CrossEntropy(Matrix, Tensor.Full(new(3), 0)), "Float32", "Int32");
        yield return Case("cross-entropy of no rows", () => Functional.CrossEntropy(Tensor.Full(new(0, 4), 0), Tensor.From<int>([], new(0))), "[0, 4]", "undefined");
        yield return Case("mean of nothing", () => Functional.Mean(Tensor.Full(new(0, 4), 0)), "[0, 4]", "undefined");
        yield return Case("temperature 0", () => Functional.Softmax(Matrix, 0), "temperature is 0");
        yield return Case("temperature below 0", () => Functional.Softmax(Matrix, -1), "temperature is -1");
        yield return Case("temperature NaN", () => Functional.Softmax(Matrix, float.NaN), "temperature is NaN");
        yield return Case("softmax of a vector", () => Functional.Softmax(Vector), "[5]", "2 dimensions");
        yield return Case("dropout of 1", () => Functional.Dropout(Matrix, 1, 1, 1), "p is 1", "[0, 1)");
        yield return Case("dropout below 0", () => Functional.Dropout(Matrix, -0.1f, 1, 1), "p is -0.1");
        yield return Case("dropout of NaN", () => Functional.Dropout(Matrix, float.NaN, 1, 1), "p is NaN");
        yield return Case("an index too large", () => Functional.Embedding(Matrix, Bad), "index 1 is 4", "0 to 2");
        yield return Case("reshape to another count", () => Functional.Reshape(Matrix, new(5, 2)), "[3, 4]", "[5, 2]");
        yield return Case("transpose of a feature map", () => Functional.Transpose(Map), "[1, 2, 3, 3]");
        yield return Case("concat of nothing", () => Functional.Concat([], 0), "at least one");
        yield return Case("concat of unlike shapes", () => Functional.Concat([Matrix, Tensor.Full(new(3, 5), 1)], 0), "[3, 5]", "[3, 4]", "dimension 0");
        yield return Case("concat along no dimension", () => Functional.Concat([Matrix], 2), "dimension 2", "[3, 4]");
        yield return Case("slice past the end", () => Functional.Slice(Matrix, 1, 2, 3), "start 2", "length 3", "[3, 4]");
        yield return Case("slice whose end overflows", () => Functional.Slice(Matrix, 1, 2, int.MaxValue), "[3, 4]");
        yield return Case("layer norm with another scale", () => Functional.LayerNorm(Matrix, Vector, null), "[5]", "[4]");
        yield return Case("cosine similarity of rows of two lengths", () => Functional.CosineSimilarity(Matrix, Tensor.Full(new(3, 5), 1)), "[3, 4]", "[3, 5]");
        yield return Case("a window larger than the image", () => Functional.AvgPool2d(Map, 4, 1), "[1, 2, 3, 3]", "4×4");
        yield return Case("padding beyond half the window", () => Functional.MaxPool2d(Map, 2, 1, 2), "padding is 2");
        yield return Case("batch norm of one value per channel", () => Functional.BatchNorm(Tensor.Full(new(1, 4), 1), null, null,
            Tensor.Zeros(new(4)), Tensor.Full(new(4), 1), training: true), "[1, 4]", "variance");
    }

    [TestCaseSource(nameof(Wrong))]
    public void Wrong_arguments_are_named(Func<Tensor> call, string[] parts)
    {
        using var scope = new TensorScope();
        string message = Assert.Throws<ArgumentException>(() => call())!.Message;
        foreach (string part in parts) Assert.That(message, Does.Contain(part));
    }

    private static TestCaseData Case(string name, Func<Tensor> call, params string[] parts) =>
        new TestCaseData(call, parts).SetArgDisplayNames(name);
}
