using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AvgPool2dOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, PoolWindow window)
        {
            var cpu = (CpuDevice)y.Device;
            long lines = (long)window.Images * window.OutHeight, work = (long)window.OutWidth * window.Channels * window.Kernel * window.Kernel;
            SimdRanges.Run(cpu, lines, SimdRanges.Parts(cpu, lines, CpuGrain.Elementwise / Math.Max(1, work)),
                new ForwardLines { Y = y.Floats, X = x.Floats, Window = window });
        }

        // One image belongs to one part, so that overlapping windows add in a fixed order.
        internal override void Backward(Tensor gradX, Tensor gradY, PoolWindow window)
        {
            var cpu = (CpuDevice)gradX.Device;
            long work = (long)window.Height * window.Width * window.Channels;
            SimdRanges.Run(cpu, window.Images, SimdRanges.Parts(cpu, window.Images, CpuGrain.Elementwise / Math.Max(1, work)),
                new BackwardImages { GradX = gradX.Floats, GradY = gradY.Floats, Window = window });
        }

        private struct ForwardLines : ISimdRange
        {
            internal float* Y, X;
            internal PoolWindow Window;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int channels = Window.Channels, width = Window.Width;
                T scale = T.Create(1f / (Window.Kernel * Window.Kernel));
                for (long line = start; line < end; line++)
                {
                    long image = line / Window.OutHeight;
                    (int top, int bottom) = Window.Reach((int)(line % Window.OutHeight), Window.Height);
                    for (int j = 0; j < Window.OutWidth; j++)
                    {
                        (int left, int right) = Window.Reach(j, width);
                        float* y = Y + (line * Window.OutWidth + j) * channels;
                        for (int c = 0; c < channels; c += T.Width)
                        {
                            int count = Math.Min(T.Width, channels - c);
                            T sum = T.Zero;
                            for (int row = top; row < bottom; row++)
                                for (int column = left; column < right; column++)
                                {
                                    float* pixel = X + ((image * Window.Height + row) * width + column) * channels + c;
                                    sum = T.Add(sum, count == T.Width ? T.Load(pixel) : T.LoadPartial(pixel, count, 0));
                                }
                            if (count == T.Width) T.Store(y + c, T.Mul(sum, scale));
                            else T.StorePartial(y + c, T.Mul(sum, scale), count);
                        }
                    }
                }
            }
        }

        private struct BackwardImages : ISimdRange
        {
            internal float* GradX, GradY;
            internal PoolWindow Window;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int channels = Window.Channels;
                long imageSize = (long)Window.Height * Window.Width * channels;
                T scale = T.Create(1f / (Window.Kernel * Window.Kernel));
                for (long image = start; image < end; image++)
                {
                    float* gradX = GradX + image * imageSize, gradY = GradY + image * Window.OutHeight * Window.OutWidth * channels;
                    new Span<float>(gradX, checked((int)imageSize)).Clear();
                    for (int i = 0; i < Window.OutHeight; i++)
                    {
                        (int top, int bottom) = Window.Reach(i, Window.Height);
                        for (int j = 0; j < Window.OutWidth; j++, gradY += channels)
                        {
                            (int left, int right) = Window.Reach(j, Window.Width);
                            for (int c = 0; c < channels; c += T.Width)
                            {
                                int count = Math.Min(T.Width, channels - c);
                                bool whole = count == T.Width;
                                T share = T.Mul(scale, whole ? T.Load(gradY + c) : T.LoadPartial(gradY + c, count, 0));
                                for (int row = top; row < bottom; row++)
                                    for (int column = left; column < right; column++)
                                    {
                                        float* pixel = gradX + ((long)row * Window.Width + column) * channels + c;
                                        if (whole) T.Store(pixel, T.Add(T.Load(pixel), share));
                                        else T.StorePartial(pixel, T.Add(T.LoadPartial(pixel, count, 0), share), count);
                                    }
                            }
                        }
                    }
                }
            }
        }
    }
}
