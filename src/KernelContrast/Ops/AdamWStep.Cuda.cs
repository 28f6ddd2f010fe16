using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AdamWStepOp
{
    internal sealed class Cuda : Kernels
    {
        private static readonly CudaKernel Kernel = new("optim/adamw", "adamw_step");

        internal override void Step(TensorGroup group, in Scalars scalars)
        {
            Tensor table = group.Table(out int chunks);
            if (chunks > 0)
                Kernel.Launch(table.Device, new(chunks, 256), table, scalars.Beta1, scalars.Beta2, scalars.Rate, scalars.SquareScale,
                    scalars.Epsilon, scalars.LearningRate, group.Count);
        }
    }
}
