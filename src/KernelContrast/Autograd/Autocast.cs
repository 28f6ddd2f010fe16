namespace KernelContrast;

/// <summary>
/// Sets the numbers in which products are formed (Linear, MatMul, Conv2d), for the code that runs until it is disposed, on
/// this thread. What those ops recorded runs backward in the same numbers.
/// </summary>
/// <remarks>
/// <para>
/// In bfloat16 the ops round their factors, activations and weights alike, and add up in float32. Parameters stay float32
/// (master weights), as do their gradients, the statistics of normalisation and the optimizer's state. On CUDA the
/// results are bfloat16 tensors, and batch norm, ReLU, max and global average pooling pass them on as they are; for a loss
/// or another op, convert with <see cref="Tensor.To(DType)"/>. On the CPU, which computes in float32, results are float32.
/// </para>
/// <para>
/// In TF32 tensors stay float32: on CUDA the tensor cores round the factors as they multiply, on the CPU the ops round them
/// before.
/// </para>
/// <para>Micikevicius et al., "Mixed precision training", ICLR 2018; bfloat16 needs no loss scaling.</para>
/// </remarks>
/// <example><code>
/// Tensor embeddings;
/// using (Autocast.To(Precision.BFloat16)) embeddings = encoder.Forward(images);
/// Tensor loss = NtXent.Loss(embeddings.To(DType.Float32), 0.5f, PairLayout.Halves);
/// </code></example>
public sealed class Autocast : IDisposable
{
    [ThreadStatic] private static Precision t_precision;
    private readonly Precision _before;
    private bool _ended;

    private Autocast(Precision precision)
    {
        _before = t_precision;
        t_precision = precision;
    }

    /// <summary>The precision in force on this thread; <see cref="KernelContrast.Precision.Float32"/> outside of every scope.</summary>
    public static Precision Precision => t_precision;

    /// <summary>Begins a scope. Scopes nest: an inner one may go back to float32.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such precision.</exception>
    public static Autocast To(Precision precision) => Enum.IsDefined(precision) ? new(precision)
        : throw new ArgumentOutOfRangeException(nameof(precision), precision, "Products are formed in Float32, Tf32 or BFloat16.");

    /// <summary>Ends the scope.</summary>
    public void Dispose()
    {
        if (_ended) return;
        _ended = true;
        t_precision = _before;
    }

    /// <summary>The precision of an op with this input: of the scope, or bfloat16 where the input is.</summary>
    internal static Precision Of(string op, Tensor x)
    {
        if (x.Type != DType.BFloat16) return t_precision;
        Check.That(x.Device.ComputesInBFloat16, $"{op}: its input holds BFloat16, but {x.Device} computes in Float32. Convert it with To(DType.Float32).");
        return Precision.BFloat16;
    }

    /// <summary>A factor of a product as its kernels take it: a new handle, cut from the tape, for the caller to dispose.</summary>
    internal static Tensor Factor(Tensor x, Precision precision) =>
        precision == Precision.Float32 || x.Type == DType.BFloat16 || (precision == Precision.Tf32 && x.Device.ComputesInTf32) ? x.Detach()
        : precision == Precision.Tf32 ? CastOp.RoundedToTf32(x)
        : x.Device.ComputesInBFloat16 ? CastOp.Converted(x, DType.BFloat16)
        : CastOp.Rounded(x);

    /// <summary>The type of a product's result.</summary>
    internal static DType ResultType(Device device, Precision precision) =>
        precision == Precision.BFloat16 && device.ComputesInBFloat16 ? DType.BFloat16 : DType.Float32;
}
