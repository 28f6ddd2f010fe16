using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LarsStepOp
{
    /// <summary>The kernels of <c>kernels/optim/lars.cu</c>.</summary>
    internal sealed class Cuda : Kernels
    {
        private const string File = "optim/lars";

        private static readonly CudaKernel Squares = new(File, "lars_squares");
        private static readonly CudaKernel StepKernel = new(File, "lars_step");

        internal override void Step(TensorGroup group, double inner, float outer, float momentum, double trust)
        {
            Tensor table = group.Table(out int chunks);
            if (chunks == 0) return;
            Device device = table.Device;
            using Tensor sums = Tensor.Empty(new(chunks, 2 * sizeof(double)), device, DType.UInt8);
            Squares.Launch(device, new(chunks, 256), sums, table, group.Count);
            StepKernel.Launch(device, new(chunks, 256), table, sums, inner, outer, momentum, trust, group.Count);
        }
    }
}
