using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class MaxPool2dOp
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
        internal override void Backward(Tensor gradX, Tensor gradY, Tensor x, Tensor y, PoolWindow window)
        {
            var cpu = (CpuDevice)x.Device;
            long work = (long)window.Height * window.Width * window.Channels;
            SimdRanges.Run(cpu, window.Images, SimdRanges.Parts(cpu, window.Images, CpuGrain.Elementwise / Math.Max(1, work)),
                new BackwardImages { GradX = gradX.Floats, GradY = gradY.Floats, X = x.Floats, Y = y.Floats, Window = window });
        }

        private struct ForwardLines : ISimdRange
        {
            internal float* Y, X;
            internal PoolWindow Window;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int channels = Window.Channels, width = Window.Width;
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
                            T best = T.Create(float.NegativeInfinity);
                            for (int row = top; row < bottom; row++)
                                for (int column = left; column < right; column++)
                                {
                                    float* pixel = X + ((image * Window.Height + row) * width + column) * channels + c;
                                    best = T.Max(best, count == T.Width ? T.Load(pixel) : T.LoadPartial(pixel, count, 0));
                                }
                            if (count == T.Width) T.Store(y + c, best);
                            else T.StorePartial(y + c, best, count);
                        }
                    }
                }
            }
        }

        private struct BackwardImages : ISimdRange
        {
            internal float* GradX, GradY, X, Y;
            internal PoolWindow Window;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                long imageSize = (long)Window.Height * Window.Width * Window.Channels;
                for (long image = start; image < end; image++)
                {
                    float* gradX = GradX + image * imageSize, x = X + image * imageSize;
                    new Span<float>(gradX, checked((int)imageSize)).Clear();
                    for (int i = 0; i < Window.OutHeight; i++)
                        for (int j = 0; j < Window.OutWidth; j++)
                            Pixel<T>(gradX, x, ((image * Window.OutHeight + i) * Window.OutWidth + j) * Window.Channels,
                                Window.Reach(i, Window.Height), Window.Reach(j, Window.Width));
                }
            }

            private readonly void Pixel<T>(float* gradX, float* x, long output, (int From, int To) rows, (int From, int To) columns)
                where T : struct, ISimd<T>
            {
                int channels = Window.Channels;
                for (int c = 0; c < channels; c += T.Width)
                {
                    int count = Math.Min(T.Width, channels - c);
                    bool whole = count == T.Width;
                    T y = whole ? T.Load(Y + output + c) : T.LoadPartial(Y + output + c, count, 0);
                    T left = whole ? T.Load(GradY + output + c) : T.LoadPartial(GradY + output + c, count, 0);
                    for (int row = rows.From; row < rows.To; row++)
                        for (int column = columns.From; column < columns.To; column++)
                        {
                            long at = ((long)row * Window.Width + column) * channels + c;
                            T pixel = whole ? T.Load(x + at) : T.LoadPartial(x + at, count, 0);
                            // what is not below the maximum takes the whole gradient and leaves none
                            T taken = T.SelectGreater(y, pixel, T.Zero, left);
                            left = T.SelectGreater(y, pixel, left, T.Zero);
                            if (whole) T.Store(gradX + at, T.Add(T.Load(gradX + at), taken));
                            else T.StorePartial(gradX + at, T.Add(T.LoadPartial(gradX + at, count, 0), taken), count);
                        }
                }
            }
        }
    }
}
