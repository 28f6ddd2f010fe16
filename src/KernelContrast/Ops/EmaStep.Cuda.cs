using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class EmaStepOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("optim/ema", "ema_step");

        internal override void Step(TensorGroup group, float rate)
        {
            Tensor table = group.Table(out int chunks);
            if (chunks > 0) Kernel.Launch(table.Device, new(chunks, 256), table, rate, group.Count);
        }
    }
}
