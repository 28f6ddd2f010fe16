using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CrossEntropyOp
{
    internal sealed class Cuda : Kernels
    {
        private const string File = "nn/cross_entropy";

        private static readonly CudaKernel LogSumExp = new(File, "cross_entropy_log_sum_exp");
        private static readonly CudaKernel Mean = new(File, "cross_entropy_mean");
        private static readonly CudaKernel BackwardKernel = new(File, "cross_entropy_backward");

        internal override (int Row, int Label) FindBadLabel(Tensor labels, int classes) => IndexCheck.FindOutside(labels, classes);

        internal override void Forward(Tensor loss, Tensor logSumExp, Tensor logits, Tensor labels)
        {
            int rows = logits.Shape[0], classes = logits.Shape[1];
            LogSumExp.Launch(loss.Device, LaunchShape.WarpPerItem(rows), logSumExp, logits, rows, classes);
            Mean.Launch(loss.Device, new(1, 256), loss, logSumExp, logits, labels, rows, classes);
        }

        internal override void Backward(Tensor gradLogits, Tensor gradLoss, Tensor logits, Tensor labels, Tensor logSumExp) =>
            BackwardKernel.Launch(logits.Device, LaunchShape.WarpPerItem(logits.Shape[0]), gradLogits, gradLoss, logits, labels, logSumExp,
                logits.Shape[0], logits.Shape[1]);
    }
}
