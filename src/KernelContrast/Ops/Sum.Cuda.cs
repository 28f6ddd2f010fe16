using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class SumOp
{
    internal sealed class Cuda : Kernels
    {
        private const int MostRuns = 1024;
        private const long ShortestRun = 4096;

        private static readonly CudaKernel Runs = new("nn/sum", "sum_runs");
        private static readonly CudaKernel Fold = new("nn/sum", "sum_fold");
        private static readonly CudaKernel BackwardKernel = new("nn/sum", "sum_backward");

        internal override void Forward(Tensor y, Tensor x, double factor)
        {
            Device device = y.Device;
            long run = Math.Max(ShortestRun, (x.Count + MostRuns - 1) / MostRuns);
            int runs = (int)((x.Count + run - 1) / run);
            using Tensor sums = Tensor.Empty(new(2 * runs), device); // doubles
            if (runs > 0) Runs.Launch(device, new(runs, 256), sums, x, run, x.Count);
            Fold.Launch(device, new(1, 256), y, sums, factor, runs);
        }

        internal override void Backward(Tensor gradX, Tensor gradY, double factor) =>
            BackwardKernel.Launch(gradX.Device, LaunchShape.GridStride(gradX.Count, block: 256), gradX, gradY, factor, gradX.Count);
    }
}
