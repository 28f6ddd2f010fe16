namespace KernelContrast;

public sealed partial class Tensor
{
    /// <summary>
    /// This tensor in another floating-point type, on the same device and on the tape: itself when it has the type already.
    /// To <see cref="DType.BFloat16"/> numbers are rounded to nearest, ties to even; back nothing is lost. Gradients are
    /// converted the other way.
    /// </summary>
    /// <exception cref="ArgumentException">One of the types is no floating-point type.</exception>
    /// <example><code>Tensor half = weights.To(DType.BFloat16);</code></example>
    public Tensor To(DType type) => type == Type ? this : CastOp.Apply(this, type);
}
