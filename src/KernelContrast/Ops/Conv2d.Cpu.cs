using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Conv2dOp
{
    /// <summary>
    /// Direct convolution over channels-innermost images. A tile is some output pixels × one or two vectors of output
    /// channels, held in registers; for each tap and input channel it takes one vector of weights and broadcasts one
    /// input value per pixel. Pixels of a tile are found through tables of offsets, so tiles run across rows and images
    /// and only the last of a group has idle lanes.
    /// </summary>
    internal sealed unsafe partial class Cpu : Kernels
    {
        // Padded images of one group: together with a panel of weights they should stay in the second-level cache.
        private const long GroupFloats = 96 * 1024;

        internal override void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, Geometry g)
        {
            var cpu = (CpuDevice)y.Device;
            var plan = new Plan(cpu, g.Images, g.Height, g.Width, g.Channels, g.OutHeight * g.OutWidth, g.Filters)
            {
                PadTop = g.Padding,
                PadLeft = g.Padding,
                PaddedHeight = g.Height + 2 * g.Padding,
                PaddedWidth = g.Width + 2 * g.Padding,
            };
            using var taps = new Taps(plan, g.KernelHeight, g.KernelWidth);
            taps.PackForward(weight.Floats, g);
            int i = 0;
            for (int oy = 0; oy < g.OutHeight; oy++)
                for (int ox = 0; ox < g.OutWidth; ox++)
                    taps.Add(i++, oy * g.Stride, ox * g.Stride, oy * g.OutWidth + ox);
            plan.Run(y.Floats, x.Floats, [taps]);
            if (bias is not null) AddBias(cpu, y.Floats, bias.Floats, (long)g.Images * g.OutHeight * g.OutWidth, g.Filters);
        }

        /// <summary>
        /// Output pixels of equal (y + padding) mod stride share their taps: each such class is a convolution of grad_y
        /// with stride 1 and every stride-th tap, in reverse.
        /// </summary>
        internal override void BackwardInput(Tensor gradX, Tensor gradY, Tensor weight, Geometry g)
        {
            var cpu = (CpuDevice)gradX.Device;
            int most = (Math.Max(g.KernelHeight, g.KernelWidth) + g.Stride - 1) / g.Stride;
            var plan = new Plan(cpu, g.Images, g.OutHeight, g.OutWidth, g.Filters, g.Height * g.Width, g.Channels)
            {
                PadTop = most - 1,
                PadLeft = most - 1,
                PaddedHeight = Math.Max(g.OutHeight, (g.Height - 1 + g.Padding) / g.Stride + 1) + most - 1,
                PaddedWidth = Math.Max(g.OutWidth, (g.Width - 1 + g.Padding) / g.Stride + 1) + most - 1,
            };
            var classes = new List<Taps>();
            try
            {
                for (int a = 0; a < g.Stride; a++)
                    for (int b = 0; b < g.Stride; b++)
                    {
                        int rows = (g.KernelHeight - a + g.Stride - 1) / g.Stride, columns = (g.KernelWidth - b + g.Stride - 1) / g.Stride;
                        if (g.KernelHeight <= a || g.KernelWidth <= b) { plan.ClearFirst = true; continue; }
                        var taps = new Taps(plan, rows, columns);
                        classes.Add(taps);
                        taps.PackBackward(weight.Floats, g, a, b);
                        int i = 0;
                        for (int y = 0; y < g.Height; y++)
                        {
                            if ((y + g.Padding) % g.Stride != a) continue;
                            for (int x = 0; x < g.Width; x++)
                                if ((x + g.Padding) % g.Stride == b)
                                    taps.Add(i++, (y + g.Padding) / g.Stride - (rows - 1) + most - 1, (x + g.Padding) / g.Stride - (columns - 1) + most - 1, y * g.Width + x);
                        }
                    }
                plan.Run(gradX.Floats, gradY.Floats, [.. classes]);
            }
            finally
            {
                foreach (Taps taps in classes) taps.Dispose();
            }
        }

        internal override void BackwardBias(Tensor gradBias, Tensor gradY, Geometry g)
        {
            // Partial sums by fixed ranges of pixels, then in order of ranges: bit-identical from run to run.
            var cpu = (CpuDevice)gradY.Device;
            long pixels = (long)g.Images * g.OutHeight * g.OutWidth;
            int filters = g.Filters, parts = (int)Math.Clamp(pixels / 1024, 1, 64);
            var partial = new double[parts * filters];
            float* from = gradY.Floats;
            cpu.Workers.For(parts, (_, part) =>
            {
                Span<double> sums = partial.AsSpan(part * filters, filters);
                for (long p = pixels * part / parts; p < pixels * (part + 1) / parts; p++)
                    for (int k = 0; k < filters; k++) sums[k] += from[p * filters + k];
            });
            float* to = gradBias.Floats;
            for (int k = 0; k < filters; k++)
            {
                double sum = 0;
                for (int part = 0; part < parts; part++) sum += partial[part * filters + k];
                to[k] = (float)sum;
            }
        }

        private static void AddBias(CpuDevice cpu, float* y, float* bias, long pixels, int filters) =>
            cpu.Workers.ForRanges(pixels, Math.Max(1, CpuGrain.Elementwise / filters), (from, to) =>
            {
                for (long p = from; p < to; p++)
                    for (int k = 0; k < filters; k++) y[p * filters + k] += bias[k];
            });

        /// <summary>Input pixels and where they are copied to be padded; output pixels; how images are grouped.</summary>
        private sealed class Plan(CpuDevice cpu, int images, int height, int width, int channels, int outPixels, int filters)
        {
            internal CpuDevice Device => cpu;
            internal int Channels => channels;
            internal int Filters => filters;
            internal int OutPixels => outPixels;
            internal int PadTop { get; init; }
            internal int PadLeft { get; init; }
            internal int PaddedHeight { get; init; }
            internal int PaddedWidth { get; init; }
            internal bool ClearFirst { get; set; }

            /// <summary>Vectors of output channels per tile.</summary>
            internal int Vectors => filters <= VectorWidth ? 1 : 2;

            internal int Lanes => Vectors * VectorWidth;

            internal int RowStride => PaddedWidth * channels;

            internal long ImageFloats => (long)PaddedHeight * RowStride;

            internal int ImagesPerGroup => (int)Math.Clamp(Math.Min(GroupFloats / Math.Max(1, ImageFloats), images / (4L * cpu.Threads)), 1, 64);

            private static int VectorWidth => Simd.Bits / 32;

            internal void Run(float* output, float* input, Taps[] classes)
            {
                foreach (Taps taps in classes) taps.FillOffsets();
                int group = ImagesPerGroup, groups = (images + group - 1) / group;
                bool copy = PadTop > 0 || PadLeft > 0 || PaddedHeight != height || PaddedWidth != width;
                // Behind the last image a tile may read up to one row of taps that only idle lanes see.
                using var scratch = copy ? new PerWorkerScratch(cpu, group * ImageFloats + 64) : null;
                cpu.Workers.For(groups, (worker, item) =>
                {
                    int first = item * group, count = Math.Min(group, images - first);
                    float* x = input + (long)first * height * width * channels;
                    float* y = output + (long)first * outPixels * filters;
                    if (scratch is not null)
                    {
                        float* padded = scratch[worker];
                        for (int n = 0; n < count; n++) Pad(padded + n * ImageFloats, x + (long)n * height * width * channels);
                        x = padded;
                    }
                    if (ClearFirst) new Span<float>(y, count * outPixels * filters).Clear();
                    foreach (Taps taps in classes) taps.Convolve(y, x, count);
                });
            }

            private void Pad(float* to, float* from)
            {
                for (int row = 0; row < PaddedHeight; row++)
                {
                    float* line = to + (long)row * RowStride;
                    int y = row - PadTop;
                    if (y < 0 || y >= height) { new Span<float>(line, RowStride).Clear(); continue; }
                    int left = PadLeft * channels, inside = width * channels;
                    new Span<float>(line, left).Clear();
                    new ReadOnlySpan<float>(from + (long)y * inside, inside).CopyTo(new Span<float>(line + left, inside));
                    new Span<float>(line + left + inside, RowStride - left - inside).Clear();
                }
            }
        }

        /// <summary>One set of output pixels that share their taps: packed weights and tables of offsets.</summary>
        private sealed class Taps : IDisposable
        {
            private readonly Plan _plan;
            private readonly int _rows, _rowLength, _blocks;
            private readonly float* _panels;
            private readonly long _bytes;
            private readonly nint[] _inputOffsets, _outputOffsets;
            private readonly int[] _rowOf, _columnOf, _pixelOf;
            private int _pixels;

            internal Taps(Plan plan, int rows, int columns)
            {
                (_plan, _rows, _rowLength) = (plan, rows, columns * plan.Channels);
                _blocks = (plan.Filters + plan.Lanes - 1) / plan.Lanes;
                _bytes = 4L * _blocks * rows * _rowLength * plan.Lanes;
                _panels = (float*)plan.Device.Pool.Rent(_bytes);
                (_rowOf, _columnOf, _pixelOf) = (new int[plan.OutPixels], new int[plan.OutPixels], new int[plan.OutPixels]);
                int most = plan.OutPixels * plan.ImagesPerGroup;
                (_inputOffsets, _outputOffsets) = (new nint[most], new nint[most]);
            }

            /// <summary>An output pixel whose window begins at a row and column of the padded input.</summary>
            internal void Add(int index, int row, int column, int pixel)
            {
                (_rowOf[index], _columnOf[index], _pixelOf[index]) = (row, column, pixel);
                _pixels = index + 1;
            }

            /// <summary>panel[block][r][s·C + c][lane] = w[k, r, s, c], zero for k past the last filter.</summary>
            internal void PackForward(float* weight, Geometry g)
            {
                int lanes = _plan.Lanes, length = _rows * _rowLength;
                float* panels = _panels;
                _plan.Device.Workers.For(_blocks, (_, block) =>
                {
                    float* panel = panels + (long)block * length * lanes;
                    int used = Math.Min(lanes, g.Filters - block * lanes);
                    for (int lane = 0; lane < lanes; lane++)
                    {
                        float* from = weight + (long)(block * lanes + lane) * length;
                        if (lane < used) for (int i = 0; i < length; i++) panel[(long)i * lanes + lane] = from[i];
                        else for (int i = 0; i < length; i++) panel[(long)i * lanes + lane] = 0;
                    }
                });
            }

            /// <summary>panel[block][i][j·K + k][lane] = w[k, a + stride·(rows−1−i), b + stride·(columns−1−j), c].</summary>
            internal void PackBackward(float* weight, Geometry g, int a, int b)
            {
                int lanes = _plan.Lanes, rows = _rows, columns = _rowLength / g.Filters;
                float* panels = _panels;
                _plan.Device.Workers.For(_blocks, (_, block) =>
                {
                    float* to = panels + (long)block * rows * columns * g.Filters * lanes;
                    int used = Math.Min(lanes, g.Channels - block * lanes);
                    for (int i = 0; i < rows; i++)
                        for (int j = 0; j < columns; j++)
                        {
                            int r = a + g.Stride * (rows - 1 - i), s = b + g.Stride * (columns - 1 - j);
                            for (int k = 0; k < g.Filters; k++, to += lanes)
                            {
                                float* from = weight + (((long)k * g.KernelHeight + r) * g.KernelWidth + s) * g.Channels + block * lanes;
                                new ReadOnlySpan<float>(from, used).CopyTo(new Span<float>(to, lanes));
                                new Span<float>(to + used, lanes - used).Clear();
                            }
                        }
                });
            }

            internal void Convolve(float* output, float* input, int images)
            {
                switch (Simd.Bits)
                {
                    case 512: Convolve<F512>(output, input, images); break;
                    case 256: Convolve<F256>(output, input, images); break;
                    default: Convolve<F128>(output, input, images); break;
                }
            }

            [MethodImpl(MethodImplOptions.AggressiveOptimization)]
            private void Convolve<T>(float* output, float* input, int images) where T : struct, ISimd<T>
            {
                int vectors = _plan.Vectors, lanes = vectors * T.Width, total = images * _pixels;
                delegate*<in ConvTile, void> tile = ChooseTile<T>(vectors, total, out int pixels);
                float* spill = stackalloc float[MostPixels * 32];
                nint* spillOffsets = stackalloc nint[MostPixels];
                for (int i = 0; i < MostPixels; i++) spillOffsets[i] = i * lanes;
                nint* tailIn = stackalloc nint[MostPixels];
                nint* tailOut = stackalloc nint[MostPixels];
                fixed (nint* inputOffsets = _inputOffsets, outputOffsets = _outputOffsets)
                {
                    for (int block = 0; block < _blocks; block++)
                    {
                        int used = Math.Min(lanes, _plan.Filters - block * lanes);
                        var t = new ConvTile
                        {
                            Input = input,
                            Weights = _panels + (long)block * _rows * _rowLength * lanes,
                            RowStride = _plan.RowStride,
                            Rows = _rows,
                            RowLength = _rowLength,
                        };
                        for (int p = 0; p < total; p += pixels)
                        {
                            int here = Math.Min(pixels, total - p);
                            nint* into = outputOffsets + p;
                            t.InputOffsets = inputOffsets + p;
                            if (here < pixels)
                            {
                                // Idle places repeat the last pixel.
                                for (int i = 0; i < pixels; i++)
                                {
                                    tailIn[i] = inputOffsets[p + Math.Min(i, here - 1)];
                                    tailOut[i] = outputOffsets[p + Math.Min(i, here - 1)];
                                }
                                t.InputOffsets = tailIn;
                                into = tailOut;
                            }
                            if (used == lanes)
                            {
                                t.Output = output + block * lanes;
                                t.OutputOffsets = into;
                                tile(in t);
                                continue;
                            }
                            t.Output = spill;
                            t.OutputOffsets = spillOffsets;
                            tile(in t);
                            for (int i = 0; i < here; i++)
                                new ReadOnlySpan<float>(spill + i * lanes, used).CopyTo(new Span<float>(output + into[i] + block * lanes, used));
                        }
                    }
                }
            }

            /// <summary>Once every pixel was added.</summary>
            internal void FillOffsets()
            {
                int channels = _plan.Channels, filters = _plan.Filters;
                for (int n = 0; n < _plan.ImagesPerGroup; n++)
                    for (int i = 0; i < _pixels; i++)
                    {
                        _inputOffsets[n * _pixels + i] = (nint)(n * _plan.ImageFloats + (long)_rowOf[i] * _plan.RowStride + _columnOf[i] * channels);
                        _outputOffsets[n * _pixels + i] = (nint)((long)(n * _plan.OutPixels + _pixelOf[i]) * filters);
                    }
            }

            public void Dispose() => _plan.Device.Pool.Return((nint)_panels, _bytes);
        }
    }
}
