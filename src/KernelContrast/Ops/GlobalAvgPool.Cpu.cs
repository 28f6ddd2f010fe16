using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class GlobalAvgPoolOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x)
        {
            int channels = x.Shape[1], pixels = x.Shape[2] * x.Shape[3];
            float* to = y.Floats, from = x.Floats;
            ((CpuDevice)y.Device).Workers.ForRanges(x.Shape[0], Math.Max(1, CpuGrain.Elementwise / (pixels * channels)), (first, end) =>
            {
                for (long n = first; n < end; n++)
                {
                    var sums = new Span<float>(to + n * channels, channels);
                    sums.Clear();
                    for (int p = 0; p < pixels; p++)
                        TensorPrimitives.Add(sums, new ReadOnlySpan<float>(from + (n * pixels + p) * channels, channels), sums);
                    TensorPrimitives.Multiply(sums, 1f / pixels, sums);
                }
            });
        }

        internal override void Backward(Tensor gradX, Tensor gradY)
        {
            int channels = gradX.Shape[1], pixels = gradX.Shape[2] * gradX.Shape[3];
            float* to = gradX.Floats, from = gradY.Floats;
            ((CpuDevice)gradX.Device).Workers.ForRanges(gradX.Shape[0], Math.Max(1, CpuGrain.Elementwise / (pixels * channels)), (first, end) =>
            {
                for (long n = first; n < end; n++)
                {
                    var grad = new ReadOnlySpan<float>(from + n * channels, channels);
                    var pixel = new Span<float>(to + n * pixels * channels, channels);
                    TensorPrimitives.Multiply(grad, 1f / pixels, pixel);
                    for (int p = 1; p < pixels; p++) pixel.CopyTo(new Span<float>(to + (n * pixels + p) * channels, channels));
                }
            });
        }
    }
}
