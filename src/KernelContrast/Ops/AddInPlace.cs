namespace KernelContrast;

/// <summary>sum += term, elementwise: what the tape uses where a tensor has several consumers.</summary>
internal static partial class AddInPlaceOp
{
    internal abstract class Kernels
    {
        /// <summary>sum[i] += term[i]; same shape, same type (float32 or bfloat16), same device.</summary>
        internal abstract void AddInPlace(Tensor sum, Tensor term);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    /// <summary>The sum of two gradients, taking both over; in place when nobody else looks at the first.</summary>
    internal static Tensor Sum(Tensor sum, Tensor term)
    {
        if (!sum.Buffer.IsExclusive)
        {
            Tensor copy = sum.Clone();
            sum.Dispose();
            sum = copy;
        }
        On(sum.Device).AddInPlace(sum, term);
        term.Dispose();
        return sum;
    }
}
