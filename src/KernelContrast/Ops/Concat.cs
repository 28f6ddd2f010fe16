namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The tensors one after another along a dimension.</summary>
    /// <param name="tensors">At least one; equal shapes but for the size along <paramref name="dim"/>.</param>
    /// <param name="dim">In [−rank, rank); negative counts from the last.</param>
    /// <exception cref="ArgumentException">There are none, or their shapes differ elsewhere, or there is no such dimension.</exception>
    public static Tensor Concat(IReadOnlyList<Tensor> tensors, int dim)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return ConcatOp.Concat(tensors, dim);
    }

    /// <summary>The elements start, start + 1, …, start + length − 1 along a dimension, as a copy.</summary>
    /// <param name="x">Any shape.</param>
    /// <param name="dim">In [−rank, rank); negative counts from the last.</param>
    /// <param name="start">0 or more.</param>
    /// <param name="length">0 or more; start + length is at most the dimension's size.</param>
    /// <exception cref="ArgumentException">The range or the dimension is outside of x's shape.</exception>
    public static Tensor Slice(Tensor x, int dim, int start, int length)
    {
        ArgumentNullException.ThrowIfNull(x);
        return ConcatOp.Slice(x, dim, start, length);
    }
}

/// <summary>
/// Concat: y = [x₁ … x_k]; backward: grad_x_i = its slice of grad_y. Slice: y = x[start : start + length];
/// backward: grad_x = grad_y there, 0 elsewhere. Saves nothing.
/// </summary>
internal static partial class ConcatOp
{
    internal abstract class Kernels
    {
        /// <summary>
        /// Copies <paramref name="count"/> blocks of <paramref name="block"/> elements; block i goes from
        /// source[sourceStart + i·sourceStep] to destination[destinationStart + i·destinationStep].
        /// </summary>
        internal abstract void CopyBlocks(Tensor destination, long destinationStart, long destinationStep,
            Tensor source, long sourceStart, long sourceStep, long block, long count);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Concat(IReadOnlyList<Tensor> tensors, int dim)
    {
        const string Op = "concat";
        Check.That(tensors.Count > 0, $"{Op}: expected at least one tensor.");
        Tensor first = tensors[0];
        Tensor[] all = [.. tensors];
        Device device = Check.SameDevice(Op, first, all);
        dim = Dimension(Op, first.Shape, dim);
        int total = 0;
        var starts = new int[all.Length];
        for (int i = 0; i < all.Length; i++)
        {
            Check.That(all[i].Shape.Rank == first.Shape.Rank && WithSize(all[i].Shape, dim, 0) == WithSize(first.Shape, dim, 0),
                $"{Op}: tensor {i} has shape {all[i].Shape}, tensor 0 {first.Shape}; they may differ in dimension {dim} only.");
            starts[i] = total;
            total = checked(total + all[i].Shape[dim]);
        }
        Tensor y = Tensor.Empty(WithSize(first.Shape, dim, total), device);
        for (int i = 0; i < all.Length; i++) Put(y, starts[i], all[i], dim);
        return Tape.Record(Op, y, all, saved: [], (in b) =>
        {
            for (int i = 0; i < starts.Length; i++)
                if (b.Needs(i)) Take(b.NewGrad(i), b.GradOutput, dim, starts[i]);
        });
    }

    internal static Tensor Slice(Tensor x, int dim, int start, int length)
    {
        const string Op = "slice";
        Device device = Check.SameDevice(Op, x);
        dim = Dimension(Op, x.Shape, dim);
        Check.That(start >= 0 && length >= 0 && start <= x.Shape[dim] - length,
            $"{Op}: start {start} and length {length} leave dimension {dim} of shape {x.Shape}.");
        Tensor y = Tensor.Empty(WithSize(x.Shape, dim, length), device);
        Take(y, x, dim, start);
        return Tape.Record(Op, y, [x], saved: [], (in b) =>
        {
            Tensor gradX = b.NewGrad(0);
            gradX.Device.Clear(gradX.Buffer, gradX.Bytes);
            Put(gradX, start, b.GradOutput, dim);
        });
    }

    private static int Dimension(string op, Shape shape, int dim)
    {
        Check.That(dim >= -shape.Rank && dim < shape.Rank, $"{op}: dimension {dim} does not exist in shape {shape}.");
        return dim < 0 ? dim + shape.Rank : dim;
    }

    private static Shape WithSize(Shape shape, int dim, int size)
    {
        int[] sizes = shape.Sizes.ToArray();
        sizes[dim] = size;
        return new(sizes);
    }

    /// <summary>part = whole[start : start + its size] along dim.</summary>
    private static void Take(Tensor part, Tensor whole, int dim, int start)
    {
        if (part.Count == 0) return;
        long inner = Inner(whole.Shape, dim), block = part.Shape[dim] * inner, step = whole.Shape[dim] * inner;
        On(part.Device).CopyBlocks(part, 0, block, whole, start * inner, step, block, part.Count / block);
    }

    /// <summary>whole[start : start + part's size] = part along dim.</summary>
    private static void Put(Tensor whole, int start, Tensor part, int dim)
    {
        if (part.Count == 0) return;
        long inner = Inner(whole.Shape, dim), block = part.Shape[dim] * inner, step = whole.Shape[dim] * inner;
        On(part.Device).CopyBlocks(whole, start * inner, step, part, 0, block, block, part.Count / block);
    }

    /// <summary>Elements stored between neighbours along a dimension.</summary>
    private static long Inner(Shape shape, int dim)
    {
        if (shape.Rank == 4)
            return dim switch
            {
                0 => (long)shape[1] * shape[2] * shape[3],
                1 => 1,
                2 => (long)shape[1] * shape[3],
                _ => shape[1],
            };
        long inner = 1;
        for (int d = dim + 1; d < shape.Rank; d++) inner *= shape[d];
        return inner;
    }
}
