namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y[j, i] = x[i, j].</summary>
    /// <param name="x">[N, M].</param>
    /// <returns>[M, N].</returns>
    /// <exception cref="ArgumentException">The rank is not 2.</exception>
    public static Tensor Transpose(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return TransposeOp.Apply(x);
    }
}

/// <summary>Forward: y = xᵀ. Backward: grad_x = grad_yᵀ. Saves nothing.</summary>
internal static partial class TransposeOp
{
    internal abstract class Kernels
    {
        /// <summary>y[k, j, i] = x[k, i, j] for k in [0, count), i in [0, rows), j in [0, columns).</summary>
        internal abstract void Transpose(Tensor y, Tensor x, int count, int rows, int columns);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x)
    {
        const string Op = "transpose";
        Device device = Check.SameDevice(Op, x);
        Check.Rank(Op, x, 2);
        int rows = x.Shape[0], columns = x.Shape[1];
        Tensor y = Tensor.Empty(new(columns, rows), device);
        On(device).Transpose(y, x, 1, rows, columns);
        return Tape.Record(Op, y, [x], saved: [], (in b) =>
            On(b.GradOutput.Device).Transpose(b.NewGrad(0), b.GradOutput, 1, columns, rows));
    }
}
