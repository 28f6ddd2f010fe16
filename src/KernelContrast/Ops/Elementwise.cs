namespace KernelContrast;

public static partial class Functional
{
    /// <summary>a + b, with NumPy's broadcasting: shapes are aligned at the right, sizes are equal or 1.</summary>
    /// <exception cref="ArgumentException">The shapes do not broadcast.</exception>
    public static Tensor Add(Tensor a, Tensor b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return ElementwiseOp.Apply("add", ElementwiseOp.Kind.Add, a, b);
    }

    /// <summary>a − b, with NumPy's broadcasting: shapes are aligned at the right, sizes are equal or 1.</summary>
    /// <exception cref="ArgumentException">The shapes do not broadcast.</exception>
    public static Tensor Subtract(Tensor a, Tensor b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return ElementwiseOp.Apply("subtract", ElementwiseOp.Kind.Subtract, a, b);
    }

    /// <summary>a · b element by element, with NumPy's broadcasting: shapes are aligned at the right, sizes are equal or 1.</summary>
    /// <exception cref="ArgumentException">The shapes do not broadcast.</exception>
    public static Tensor Mul(Tensor a, Tensor b)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return ElementwiseOp.Apply("mul", ElementwiseOp.Kind.Multiply, a, b);
    }
}

/// <summary>
/// Forward: y = a ∘ b for ∘ of +, −, ·, both broadcast to y's shape. Backward, summed over the dimensions that an
/// operand repeats along: grad_a = grad_y, grad_b = ±grad_y for sum and difference; grad_a = grad_y · b,
/// grad_b = grad_y · a for the product, which alone saves its operands.
/// </summary>
internal static partial class ElementwiseOp
{
    internal enum Kind { Add, Subtract, Multiply }

    internal abstract class Kernels
    {
        /// <summary>y = a ∘ b.</summary>
        internal abstract void Combine(Tensor y, Tensor a, Tensor b, Kind kind);
        /// <summary>sum = factor · Σ x over the dimensions in which sum's shape has 1, or nothing, and x's more.</summary>
        internal abstract void SumTo(Tensor sum, Tensor x, float factor);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(string op, Kind kind, Tensor a, Tensor b)
    {
        if (a.Type == DType.BFloat16 && b.Type == DType.BFloat16)
        {
            // Computed in float32, rounded at the end.
            using Tensor wideA = a.To(DType.Float32), wideB = b.To(DType.Float32), wideY = Apply(op, kind, wideA, wideB);
            return wideY.To(DType.BFloat16);
        }
        Device device = Check.SameDevice(op, a, b);
        Tensor y = Tensor.Empty(Broadcast.Common(op, a.Shape, b.Shape), device);
        On(device).Combine(y, a, b, kind);
        return kind switch
        {
            Kind.Add => Tape.Record(op, y, [a, b], saved: [], static (in g) => SumGrads(g, 1)),
            Kind.Subtract => Tape.Record(op, y, [a, b], saved: [], static (in g) => SumGrads(g, -1)),
            _ => Tape.Record(op, y, [a, b], saved: [a, b], static (in g) =>
            {
                if (g.Needs(0)) ProductGrad(g, 0, other: g.Saved(1));
                if (g.Needs(1)) ProductGrad(g, 1, other: g.Saved(0));
            }),
        };
    }

    private static void SumGrads(in BackwardContext b, float sign)
    {
        SumGrad(b, 0, 1);
        SumGrad(b, 1, sign);
    }

    private static void SumGrad(in BackwardContext b, int input, float sign)
    {
        if (!b.Needs(input)) return;
        bool repeated = b.InputShape(input) != b.GradOutput.Shape;
        if (!repeated && sign == 1) b.SetGrad(input, b.GradOutput.Detach());
        else if (!repeated) ScaleOp.On(b.GradOutput.Device).Scale(b.NewGrad(input), b.GradOutput, sign);
        else On(b.GradOutput.Device).SumTo(b.NewGrad(input), b.GradOutput, sign);
    }

    private static void ProductGrad(in BackwardContext b, int input, Tensor other)
    {
        Kernels kernels = On(b.GradOutput.Device);
        if (b.InputShape(input) == b.GradOutput.Shape)
        {
            kernels.Combine(b.NewGrad(input), b.GradOutput, other, Kind.Multiply);
            return;
        }
        using Tensor product = Tensor.Empty(b.GradOutput.Shape, b.GradOutput.Device);
        kernels.Combine(product, b.GradOutput, other, Kind.Multiply);
        kernels.SumTo(b.NewGrad(input), product, 1);
    }
}
