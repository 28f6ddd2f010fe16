namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// The same elements, in row-major (NCHW) order, under another shape. Shares x's memory where the storage order is
    /// the same for both shapes, else copies: tensors of rank 4 are stored channels-innermost.
    /// </summary>
    /// <param name="x">Any shape.</param>
    /// <param name="shape">As many elements.</param>
    /// <exception cref="ArgumentException">The shapes have different numbers of elements.</exception>
    public static Tensor Reshape(Tensor x, Shape shape)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ReshapeOp.Apply(x, shape);
    }
}

/// <summary>Forward: y = x in another shape. Backward: grad_x = grad_y in x's shape. Saves nothing.</summary>
internal static class ReshapeOp
{
    internal static Tensor Apply(Tensor x, Shape shape)
    {
        const string Op = "reshape";
        Check.SameDevice(Op, x);
        Check.That(x.Shape.Count == shape.Count, $"{Op}: x has shape {x.Shape} with {x.Shape.Count} elements, which do not fit {shape} with {shape.Count}.");
        return Tape.Record(Op, Reordered(x, shape), [x], saved: [], static (in b) =>
            b.SetGrad(0, Reordered(b.GradOutput, b.InputShape(0))));
    }

    private static Tensor Reordered(Tensor x, Shape shape)
    {
        bool from = IsPermuted(x.Shape), to = IsPermuted(shape);
        if (x.Shape == shape || !from && !to) return x.View(shape);
        Tensor y = Tensor.Empty(shape, x.Device);
        if (from && to)
        {
            using Tensor rowMajor = Tensor.Empty(new(checked((int)x.Count)), x.Device);
            ToRowMajor(rowMajor, x);
            FromRowMajor(y, rowMajor);
        }
        else if (from) ToRowMajor(y, x);
        else FromRowMajor(y, x);
        return y;
    }

    /// <summary>Whether a shape's storage order differs from row-major.</summary>
    private static bool IsPermuted(Shape shape) => shape.Rank == 4 && shape[1] > 1 && (long)shape[2] * shape[3] > 1 && shape[0] > 0;

    private static void ToRowMajor(Tensor y, Tensor x) =>
        TransposeOp.On(x.Device).Transpose(y, x, x.Shape[0], rows: x.Shape[2] * x.Shape[3], columns: x.Shape[1]);

    private static void FromRowMajor(Tensor y, Tensor x) =>
        TransposeOp.On(x.Device).Transpose(y, x, y.Shape[0], rows: y.Shape[1], columns: y.Shape[2] * y.Shape[3]);
}
