namespace KernelContrast.Cases;

/// <summary>
/// One op on inputs of given shapes. From it come the forward comparison on every device, the gradient check, guard
/// regions, NaN poison and the benchmark row.
/// </summary>
public sealed class OpCase
{
    /// <summary>Name of the op, as <c>gradcheck --op</c> takes it.</summary>
    public required string Op { get; init; }

    /// <summary>What this case is for: a shape, a layout, an edge.</summary>
    public required string Name { get; init; }

    /// <summary>
    /// The ops whose kernels this runs, as their classes are called, where they are not called as <see cref="Op"/> is. The
    /// case runs on the devices that have them all.
    /// </summary>
    public string[] Kernels { get => field ?? [Op]; init; }

    public required CaseInput[] Inputs { get; init; }

    /// <summary>The public call.</summary>
    public required Func<Tensor[], Tensor> Run { get; init; }

    /// <summary>The same in double precision, naive and readable; arrays are row-major (NCHW).</summary>
    public required Func<double[][], double[]> Reference { get; init; }

    /// <summary>
    /// Optional analytic gradient of (inputs, cotangent), compared element by element. Without it, finite differences
    /// of <see cref="Reference"/> serve. Null entries: not differentiable.
    /// </summary>
    public Func<double[][], double[], double[]?[]>? ReferenceGradient { get; init; }

    /// <summary>Bound on |device − reference|, for outputs.</summary>
    public Tolerance Forward { get; init; } = new(1e-5, 1e-5);

    /// <summary>Bound on |device − reference|, for gradients.</summary>
    public Tolerance Gradient { get; init; } = new(1e-4, 1e-4);

    /// <summary>
    /// Optional size of the terms of each input's gradient before they cancel, per element, in place of the
    /// reference's own size in <see cref="Gradient"/>'s bounds.
    /// </summary>
    public Func<double[][], double[], double[]?[]>? GradientScale { get; init; }

    /// <summary>False for ops that are no functions of their inputs' gradient (dropout masks drawn anew, say).</summary>
    public bool CheckGradient { get; init; } = true;

    /// <summary>Bytes that one forward and backward pass must move at least; 0: no benchmark row.</summary>
    public long Bytes { get; init; }

    /// <summary>Floating-point operations of one forward and backward pass.</summary>
    public long Flops { get; init; }

    /// <summary>Only a benchmark row: too large to compare with a naive reference.</summary>
    public bool BenchmarkOnly { get; init; }

    /// <summary>Not <see cref="Precision.Float32"/>: the op runs in this precision, and <see cref="Naive"/> bounds its error.</summary>
    public Precision Precision { get; init; }

    /// <summary>False for ops on tensors that the CPU stores but does not compute with.</summary>
    public bool OnCpu { get; init; } = true;

    /// <summary>
    /// The reference, but with every number rounded that a plain implementation in <see cref="Precision"/> would round.
    /// The op's largest error may be <see cref="NaiveErrors"/> times this one's, in place of <see cref="Forward"/>.
    /// </summary>
    public Func<double[][], double[]>? Naive { get; init; }

    /// <summary>Likewise for gradients, in place of <see cref="Gradient"/>; needs <see cref="ReferenceGradient"/>.</summary>
    public Func<double[][], double[], double[]?[]>? NaiveGradient { get; init; }

    /// <summary>How many times the naive implementation's largest error an op's may be.</summary>
    public double NaiveErrors { get; init; } = 2;

    public override string ToString() => $"{Op}: {Name}";
}

/// <summary>|actual − expected| ≤ max(Relative·|expected| + Absolute·(root mean square of expected), Floor).</summary>
public readonly record struct Tolerance(double Relative, double Absolute, double Floor = 0);

/// <summary>Gives cases. Found by reflection: a new op's cases are a new file.</summary>
public interface ICaseSource
{
    IEnumerable<OpCase> Cases();
}
