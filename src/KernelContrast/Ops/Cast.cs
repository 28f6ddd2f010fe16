namespace KernelContrast;

/// <summary>
/// Forward: y = x, rounded to nearest (ties to even) when y is bfloat16. Backward: grad_x = grad_y, in x's type. Saves
/// nothing.
/// </summary>
internal static partial class CastOp
{
    internal abstract class Kernels
    {
        /// <summary>y = x; one of the two is float32, the other bfloat16.</summary>
        internal abstract void Convert(Tensor y, Tensor x);

        /// <summary>y = x rounded to TF32, both float32. Only for devices whose products do not round.</summary>
        internal virtual void RoundToTf32(Tensor y, Tensor x) => throw new NotSupportedException($"{x.Device} rounds to TF32 in its products.");
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, DType type) => Tape.Record("cast", Converted(x, type), [x], saved: [],
        (in b) => b.SetGrad(0, Converted(b.GradOutput, b.InputType(0))));

    /// <summary>A copy in the other type, cut from the tape.</summary>
    internal static Tensor Converted(Tensor x, DType type)
    {
        Check.That(x.Type != type && x.Type.IsFloat() && type.IsFloat(),
            $"cast: x holds {x.Type} and cannot become {type}: conversions are between Float32 and BFloat16.");
        Tensor y = Tensor.Empty(x.Shape, x.Device, type);
        On(x.Device).Convert(y, x);
        return y;
    }

    /// <summary>A float32 copy whose numbers are those of TF32, to nearest and ties away from zero, cut from the tape.</summary>
    internal static Tensor RoundedToTf32(Tensor x)
    {
        Tensor y = Tensor.Empty(x.Shape, x.Device);
        On(x.Device).RoundToTf32(y, x);
        return y;
    }

    /// <summary>A float32 copy whose numbers are those of bfloat16, cut from the tape.</summary>
    internal static Tensor Rounded(Tensor x)
    {
        using Tensor half = Converted(x, DType.BFloat16);
        return Converted(half, DType.Float32);
    }
}
