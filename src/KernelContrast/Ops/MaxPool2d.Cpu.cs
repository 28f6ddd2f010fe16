using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class MaxPool2dOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor winner, Tensor x, Window window)
        {
            int channels = x.Shape[1], height = x.Shape[2], width = x.Shape[3], outHeight = y.Shape[2], outWidth = y.Shape[3];
            float* to = y.Floats, from = x.Floats;
            int* places = (int*)winner.Pointer;
            ((CpuDevice)y.Device).Workers.ForRanges((long)x.Shape[0] * outHeight, 1, (first, end) =>
            {
                for (long line = first; line < end; line++)
                {
                    long image = line / outHeight;
                    int top = (int)(line % outHeight) * window.Stride - window.Padding;
                    for (int j = 0; j < outWidth; j++)
                    {
                        int left = j * window.Stride - window.Padding;
                        float* best = to + (line * outWidth + j) * channels;
                        int* place = places + (line * outWidth + j) * channels;
                        bool started = false;
                        for (int row = Math.Max(0, top); row < Math.Min(height, top + window.Kernel); row++)
                            for (int column = Math.Max(0, left); column < Math.Min(width, left + window.Kernel); column++)
                            {
                                float* pixel = from + ((image * height + row) * width + column) * channels;
                                int here = row * width + column;
                                for (int c = 0; c < channels; c++)
                                    if (!started || pixel[c] > best[c] || (float.IsNaN(pixel[c]) && !float.IsNaN(best[c])))
                                    {
                                        best[c] = pixel[c];
                                        place[c] = here;
                                    }
                                started = true;
                            }
                    }
                }
            });
        }

        internal override void Backward(Tensor gradX, Tensor gradY, Tensor winner)
        {
            int channels = gradX.Shape[1], pixels = gradX.Shape[2] * gradX.Shape[3], outPixels = gradY.Shape[2] * gradY.Shape[3];
            float* to = gradX.Floats, from = gradY.Floats;
            int* places = (int*)winner.Pointer;
            // One image is one range's alone, so overlapping windows add in a fixed order.
            ((CpuDevice)gradX.Device).Workers.ForRanges(gradX.Shape[0], 1, (first, end) =>
            {
                for (long n = first; n < end; n++)
                {
                    new Span<float>(to + n * pixels * channels, pixels * channels).Clear();
                    for (long p = n * outPixels; p < (n + 1) * outPixels; p++)
                        for (int c = 0; c < channels; c++)
                            to[(n * pixels + places[p * channels + c]) * channels + c] += from[p * channels + c];
                }
            });
        }
    }
}
