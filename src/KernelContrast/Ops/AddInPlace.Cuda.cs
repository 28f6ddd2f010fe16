using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AddInPlaceOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly TypedKernel Kernel = new("nn/elementwise", "add_in_place");

        internal override void AddInPlace(Tensor sum, Tensor term) =>
            Kernel.For(sum.Type).Launch(sum.Device, LaunchShape.GridStride(sum.Count, block: 256), sum, term, sum.Count);
    }
}
