namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// The matrix product op(a)·op(b), [M,K]·[K,N] → [M,N], where op transposes on demand: <paramref name="a"/> is
    /// [M,K], or [K,M] when <paramref name="transposeA"/>; <paramref name="b"/> is [K,N], or [N,K] when
    /// <paramref name="transposeB"/>.
    /// </summary>
    /// <exception cref="ArgumentException">An input is not of rank 2, or the inner sizes differ.</exception>
    public static Tensor MatMul(Tensor a, Tensor b, bool transposeA = false, bool transposeB = false)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        return MatMulOp.Apply(a, b, transposeA, transposeB);
    }
}

/// <summary>
/// Forward: C = A·B, with A and B after transposition. Backward: grad_A = grad_C·Bᵀ and grad_B = Aᵀ·grad_C, each
/// transposed again where the input was. Saves a and b, as rounded by <see cref="Autocast"/>.
/// </summary>
internal static partial class MatMulOp
{
    internal abstract class Kernels
    {
        /// <summary>c = op(a)·op(b), overwriting. The precision tells TF32 from float32.</summary>
        internal abstract void Multiply(Tensor c, Tensor a, Tensor b, bool transposeA, bool transposeB, Precision precision);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor a, Tensor b, bool transposeA, bool transposeB)
    {
        Check.That(a.Device == b.Device, $"matmul: its inputs are on different devices, {a.Device} and {b.Device}. Move one with To(device).");
        Check.That(a.Type.IsFloat() && b.Type.IsFloat(), $"matmul: its inputs hold {a.Type} and {b.Type}, expected Float32 or BFloat16.");
        Device device = a.Device;
        Check.Rank("matmul", a, 2);
        Check.Rank("matmul", b, 2);
        int rows = a.Shape[transposeA ? 1 : 0], inner = a.Shape[transposeA ? 0 : 1], columns = b.Shape[transposeB ? 0 : 1];
        Check.That(b.Shape[transposeB ? 1 : 0] == inner,
            $"matmul: the inner sizes differ: a is {a.Shape}{(transposeA ? " transposed" : "")}, b is {b.Shape}{(transposeB ? " transposed" : "")}.");
        Precision precision = Autocast.Of("matmul", a.Type == DType.BFloat16 ? a : b);
        using Tensor aFactor = Autocast.Factor(a, precision), bFactor = Autocast.Factor(b, precision);
        Tensor c = Tensor.Empty(new(rows, columns), device, Autocast.ResultType(device, precision));
        On(device).Multiply(c, aFactor, bFactor, transposeA, transposeB, precision);
        return Tape.Record("matmul", c, [a, b], saved: [aFactor, bFactor], (in context) => Backward(context, transposeA, transposeB, precision));
    }

    private static void Backward(in BackwardContext context, bool transposeA, bool transposeB, Precision precision)
    {
        using Tensor gradC = Autocast.Factor(context.GradOutput, precision);
        Tensor a = context.Saved(0), b = context.Saved(1);
        Kernels kernels = On(gradC.Device);
        if (context.Needs(0))
        {
            // grad_A = grad_C·Bᵀ; transposed: B·grad_Cᵀ
            if (transposeA) kernels.Multiply(context.NewGrad(0), b, gradC, transposeB, true, precision);
            else kernels.Multiply(context.NewGrad(0), gradC, b, false, !transposeB, precision);
        }
        if (context.Needs(1))
        {
            // grad_B = Aᵀ·grad_C; transposed: grad_Cᵀ·A
            if (transposeB) kernels.Multiply(context.NewGrad(1), gradC, a, true, transposeA, precision);
            else kernels.Multiply(context.NewGrad(1), a, gradC, !transposeA, false, precision);
        }
    }
}
