using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class BatchNormOp
{
    /// <summary>The kernels of <c>kernels/nn/batch_norm.cu</c>. Channels are innermost, so a tensor is rows × channels.</summary>
    internal sealed class Cuda : Kernels
    {
        private const string File = "nn/batch_norm";
        private const int Threads = 256;

        private static readonly TypedKernel Sums = new(File, "batch_norm_sums");
        private static readonly TypedKernel StatisticsKernel = new(File, "batch_norm_statistics");
        private static readonly CudaKernel FromRunningKernel = new(File, "batch_norm_from_running");
        private static readonly TypedKernel NormaliseKernel = new(File, "batch_norm_normalise");
        private static readonly TypedKernel GradSums = new(File, "batch_norm_grad_sums");
        private static readonly CudaKernel GradAffine = new(File, "batch_norm_grad_affine");
        private static readonly TypedKernel GradX = new(File, "batch_norm_grad_x");

        internal override void Statistics(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, Tensor x, float momentum, float epsilon)
        {
            Device device = x.Device;
            int channels = x.Shape[1];
            long rows = x.Count / channels;
            (int stripes, long rowsPerStripe) = ColumnSums.Stripes(rows, channels);
            using Tensor partial = Tensor.Empty(new(stripes, 2, channels), device);
            Sums.For(x.Type).Launch(device, PerStripe(stripes, channels), partial, x, rows, channels, rowsPerStripe);
            StatisticsKernel.For(x.Type).Launch(device, PerGroup(channels), mean, inverseDeviation, runningMean, runningVariance, partial, x,
                momentum, epsilon, stripes, rows, channels);
        }

        internal override void FromRunning(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, float epsilon)
        {
            int channels = mean.Shape[1];
            FromRunningKernel.Launch(mean.Device, new((channels + Threads - 1) / Threads, Threads), mean, inverseDeviation, runningMean, runningVariance,
                epsilon, channels);
        }

        internal override void Normalize(Tensor y, Tensor x, Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, Tensor? residual, bool relu) =>
            NormaliseKernel.For(x.Type).Launch(y.Device, LaunchShape.GridStride(y.Count, Threads), y, x, mean, inverseDeviation, gamma, beta, residual,
                relu, y.Count, x.Shape[1]);

        internal override void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor? gradResidual, Tensor gradY, Tensor x, Tensor? y,
            Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, bool relu, bool training)
        {
            Device device = x.Device;
            int channels = x.Shape[1];
            long rows = x.Count / channels;
            (int stripes, long rowsPerStripe) = ColumnSums.Stripes(rows, channels);
            using Tensor partial = Tensor.Empty(new(stripes, 2, channels), device), coefficients = Tensor.Empty(new(3, channels), device);
            bool needsSums = training || gradGamma is not null || gradBeta is not null;
            if (needsSums)
                GradSums.For(x.Type).Launch(device, PerStripe(stripes, channels), partial, gradY, x, y, mean, inverseDeviation, gamma, beta, relu,
                    rows, channels, rowsPerStripe);
            GradAffine.Launch(device, PerGroup(channels), gradGamma, gradBeta, coefficients, partial, mean, inverseDeviation, gamma,
                training, needsSums ? stripes : 0, rows, channels);
            if (gradX is null && gradResidual is null) return;
            GradX.For(x.Type).Launch(device, LaunchShape.GridStride(x.Count, Threads), gradX, gradResidual, gradY, x, y, coefficients, mean, inverseDeviation,
                gamma, beta, relu, x.Count, channels);
        }

        private static LaunchShape PerStripe(int stripes, int channels) => new(checked(stripes * ColumnSums.Groups(channels)), Threads);

        private static LaunchShape PerGroup(int channels) => new(ColumnSums.Groups(channels), Threads);
    }
}
