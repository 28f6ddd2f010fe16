using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SgdStepOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("optim/sgd", "sgd_step");

        internal override void Step(TensorGroup group, float rate, float momentum, bool nesterov)
        {
            Tensor table = group.Table(out int chunks);
            if (chunks > 0) Kernel.Launch(table.Device, new(chunks, 256), table, rate, momentum, nesterov, group.Count);
        }
    }
}
