using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Conv2dOp
{
    /// <summary>What a tile of the weight gradient reads and adds to; strides count floats.</summary>
    private unsafe struct SumTile
    {
        internal float* Input, GradY, Sums;
        internal nint InputImageStride, GradImageStride, InputRowStride, GradRowStride, InputStep, GradStep;
        internal int Images, Rows, Columns;
    }

    internal sealed unsafe partial class Cpu
    {
        /// <summary>
        /// The batch is cut into as many parts as there are threads; each part sums its images in order into its own
        /// copy of the gradient, and the copies are added in order of parts, so results do not depend on who ran what.
        /// </summary>
        internal override void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Geometry g)
        {
            switch (Simd.Bits)
            {
                case 512: BackwardWeight<F512>(gradWeight, gradY, x, g); break;
                case 256: BackwardWeight<F256>(gradWeight, gradY, x, g); break;
                default: BackwardWeight<F128>(gradWeight, gradY, x, g); break;
            }
        }

        private static void BackwardWeight<T>(Tensor gradWeight, Tensor gradY, Tensor x, Geometry g) where T : struct, ISimd<T>
        {
            var cpu = (CpuDevice)x.Device;
            int vectors = g.Filters <= T.Width ? 1 : 2, lanes = vectors * T.Width;
            int blocks = (g.Filters + lanes - 1) / lanes, filters = blocks * lanes;
            int rowLength = g.KernelWidth * g.Channels;
            delegate*<in SumTile, void> tile = ChooseSum<T>(vectors, rowLength, out int places);
            int strips = (rowLength + places - 1) / places;
            long sumFloats = (long)g.KernelHeight * strips * blocks * places * lanes;

            int paddedHeight = g.Height + 2 * g.Padding, paddedWidth = g.Width + 2 * g.Padding;
            long imageFloats = (long)paddedHeight * paddedWidth * g.Channels, gradFloats = (long)g.OutHeight * g.OutWidth * filters;
            bool copyGrad = filters != g.Filters;
            int group = (int)Math.Clamp(GroupFloats / (imageFloats + gradFloats), 1, 64);
            int parts = Math.Min(cpu.Threads, Math.Max(1, g.Images));

            using var padded = new PerWorkerScratch(cpu, group * imageFloats + places + 64);
            using var grads = copyGrad ? new PerWorkerScratch(cpu, group * gradFloats) : null;
            long sumBytes = 4 * sumFloats * parts;
            float* sums = (float*)cpu.Pool.Rent(sumBytes);
            float* input = x.Floats, upstream = gradY.Floats;
            try
            {
                cpu.Workers.For(parts, (worker, part) =>
                {
                    float* mine = sums + part * sumFloats;
                    for (long i = 0; i < sumFloats; i += 1 << 28) new Span<float>(mine + i, (int)Math.Min(1 << 28, sumFloats - i)).Clear();
                    int end = (int)((long)g.Images * (part + 1) / parts);
                    for (int first = (int)((long)g.Images * part / parts); first < end; first += group)
                    {
                        int count = Math.Min(group, end - first);
                        PadImages(padded[worker], input + (long)first * g.Height * g.Width * g.Channels, count, g);
                        float* gradients = upstream + (long)first * g.OutHeight * g.OutWidth * g.Filters;
                        if (grads is not null)
                        {
                            Widen(grads[worker], gradients, (long)count * g.OutHeight * g.OutWidth, g.Filters, filters);
                            gradients = grads[worker];
                        }
                        float* sum = mine;
                        for (int r = 0; r < g.KernelHeight; r++)
                            for (int strip = 0; strip < strips; strip++)
                                for (int block = 0; block < blocks; block++, sum += places * lanes)
                                {
                                    var t = new SumTile
                                    {
                                        Input = padded[worker] + (long)r * paddedWidth * g.Channels + strip * places,
                                        GradY = gradients + block * lanes,
                                        Sums = sum,
                                        InputImageStride = (nint)imageFloats,
                                        GradImageStride = (nint)gradFloats,
                                        InputRowStride = g.Stride * paddedWidth * g.Channels,
                                        GradRowStride = g.OutWidth * filters,
                                        InputStep = g.Stride * g.Channels,
                                        GradStep = filters,
                                        Images = count,
                                        Rows = g.OutHeight,
                                        Columns = g.OutWidth,
                                    };
                                    tile(in t);
                                }
                    }
                });
                Collect(cpu, gradWeight.Floats, sums, sumFloats, parts, g, strips, blocks, places, lanes);
            }
            finally { cpu.Pool.Return((nint)sums, sumBytes); }
        }

        /// <summary>gradWeight[k, r, s·C + c] = Σ over parts, in order, of sums[part][r][strip][block][place][lane].</summary>
        private static void Collect(CpuDevice cpu, float* gradWeight, float* sums, long sumFloats, int parts, Geometry g, int strips, int blocks, int places, int lanes)
        {
            int rowLength = g.KernelWidth * g.Channels;
            cpu.Workers.For(g.KernelHeight * strips, (_, item) =>
            {
                int r = item / strips, strip = item % strips;
                int used = Math.Min(places, rowLength - strip * places);
                for (int block = 0; block < blocks; block++)
                {
                    float* tile = sums + ((long)item * blocks + block) * places * lanes;
                    for (int lane = 0; lane < Math.Min(lanes, g.Filters - block * lanes); lane++)
                    {
                        float* to = gradWeight + ((long)(block * lanes + lane) * g.KernelHeight + r) * rowLength + strip * places;
                        for (int place = 0; place < used; place++)
                        {
                            float sum = tile[place * lanes + lane];
                            for (int part = 1; part < parts; part++) sum += tile[part * sumFloats + place * lanes + lane];
                            to[place] = sum;
                        }
                    }
                }
            });
        }

        private static void PadImages(float* to, float* from, int count, Geometry g)
        {
            int rowFloats = g.Width * g.Channels, pad = g.Padding * g.Channels, padded = rowFloats + 2 * pad;
            for (int n = 0; n < count; n++)
                for (int row = -g.Padding; row < g.Height + g.Padding; row++, to += padded)
                {
                    if (row < 0 || row >= g.Height) { new Span<float>(to, padded).Clear(); continue; }
                    new Span<float>(to, pad).Clear();
                    new ReadOnlySpan<float>(from, rowFloats).CopyTo(new Span<float>(to + pad, rowFloats));
                    new Span<float>(to + pad + rowFloats, pad).Clear();
                    from += rowFloats;
                }
            // The last strip of the last row reads past its end, into places whose sums are dropped.
            new Span<float>(to, 64).Clear();
        }

        private static void Widen(float* to, float* from, long pixels, int filters, int wide)
        {
            for (long p = 0; p < pixels; p++, to += wide, from += filters)
            {
                new ReadOnlySpan<float>(from, filters).CopyTo(new Span<float>(to, wide));
                new Span<float>(to + filters, wide - filters).Clear();
            }
        }

        /// <summary>The tile with the fewest idle places for a kernel row; see <see cref="ChooseTile"/> for registers.</summary>
        private static delegate*<in SumTile, void> ChooseSum<T>(int vectors, int rowLength, out int size) where T : struct, ISimd<T>
        {
            int large = vectors == 2 && T.Width < 16 ? 6 : 12;
            size = Idle(large) <= Idle(4) ? large : 4;
            if (vectors == 1) return size == 12 ? &Sum12x1<T> : &Sum4x1<T>;
            return size == 12 ? &Sum12x2<T> : size == 6 ? &Sum6x2<T> : &Sum4x2<T>;

            int Idle(int size) => (size - rowLength % size) % size;
        }

        /// <summary>12 places of a kernel row × 2 vectors of filters.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Sum12x2<T>(in SumTile t) where T : struct, ISimd<T>
        {
            T c0_0 = T.Load(t.Sums + 0 * T.Width), c0_1 = T.Load(t.Sums + 1 * T.Width), c1_0 = T.Load(t.Sums + 2 * T.Width), c1_1 = T.Load(t.Sums + 3 * T.Width), c2_0 = T.Load(t.Sums + 4 * T.Width), c2_1 = T.Load(t.Sums + 5 * T.Width), c3_0 = T.Load(t.Sums + 6 * T.Width), c3_1 = T.Load(t.Sums + 7 * T.Width), c4_0 = T.Load(t.Sums + 8 * T.Width), c4_1 = T.Load(t.Sums + 9 * T.Width), c5_0 = T.Load(t.Sums + 10 * T.Width), c5_1 = T.Load(t.Sums + 11 * T.Width), c6_0 = T.Load(t.Sums + 12 * T.Width), c6_1 = T.Load(t.Sums + 13 * T.Width), c7_0 = T.Load(t.Sums + 14 * T.Width), c7_1 = T.Load(t.Sums + 15 * T.Width), c8_0 = T.Load(t.Sums + 16 * T.Width), c8_1 = T.Load(t.Sums + 17 * T.Width), c9_0 = T.Load(t.Sums + 18 * T.Width), c9_1 = T.Load(t.Sums + 19 * T.Width), c10_0 = T.Load(t.Sums + 20 * T.Width), c10_1 = T.Load(t.Sums + 21 * T.Width), c11_0 = T.Load(t.Sums + 22 * T.Width), c11_1 = T.Load(t.Sums + 23 * T.Width);
            for (int line = 0; line < t.Images * t.Rows; line++)
            {
                int image = line / t.Rows, row = line % t.Rows;
                float* a = t.Input + image * t.InputImageStride + row * t.InputRowStride;
                float* g = t.GradY + image * t.GradImageStride + row * t.GradRowStride;
                for (int pixel = t.Columns; pixel > 0; pixel--)
                {
                    T g0 = T.Load(g);
                    T g1 = T.Load(g + 1 * T.Width);
                    { T x = T.Create(a[0]); c0_0 = T.Fma(x, g0, c0_0); c0_1 = T.Fma(x, g1, c0_1); }
                    { T x = T.Create(a[1]); c1_0 = T.Fma(x, g0, c1_0); c1_1 = T.Fma(x, g1, c1_1); }
                    { T x = T.Create(a[2]); c2_0 = T.Fma(x, g0, c2_0); c2_1 = T.Fma(x, g1, c2_1); }
                    { T x = T.Create(a[3]); c3_0 = T.Fma(x, g0, c3_0); c3_1 = T.Fma(x, g1, c3_1); }
                    { T x = T.Create(a[4]); c4_0 = T.Fma(x, g0, c4_0); c4_1 = T.Fma(x, g1, c4_1); }
                    { T x = T.Create(a[5]); c5_0 = T.Fma(x, g0, c5_0); c5_1 = T.Fma(x, g1, c5_1); }
                    { T x = T.Create(a[6]); c6_0 = T.Fma(x, g0, c6_0); c6_1 = T.Fma(x, g1, c6_1); }
                    { T x = T.Create(a[7]); c7_0 = T.Fma(x, g0, c7_0); c7_1 = T.Fma(x, g1, c7_1); }
                    { T x = T.Create(a[8]); c8_0 = T.Fma(x, g0, c8_0); c8_1 = T.Fma(x, g1, c8_1); }
                    { T x = T.Create(a[9]); c9_0 = T.Fma(x, g0, c9_0); c9_1 = T.Fma(x, g1, c9_1); }
                    { T x = T.Create(a[10]); c10_0 = T.Fma(x, g0, c10_0); c10_1 = T.Fma(x, g1, c10_1); }
                    { T x = T.Create(a[11]); c11_0 = T.Fma(x, g0, c11_0); c11_1 = T.Fma(x, g1, c11_1); }
                    a += t.InputStep;
                    g += t.GradStep;
                }
            }
            T.Store(t.Sums + 0 * T.Width, c0_0); T.Store(t.Sums + 1 * T.Width, c0_1);
            T.Store(t.Sums + 2 * T.Width, c1_0); T.Store(t.Sums + 3 * T.Width, c1_1);
            T.Store(t.Sums + 4 * T.Width, c2_0); T.Store(t.Sums + 5 * T.Width, c2_1);
            T.Store(t.Sums + 6 * T.Width, c3_0); T.Store(t.Sums + 7 * T.Width, c3_1);
            T.Store(t.Sums + 8 * T.Width, c4_0); T.Store(t.Sums + 9 * T.Width, c4_1);
            T.Store(t.Sums + 10 * T.Width, c5_0); T.Store(t.Sums + 11 * T.Width, c5_1);
            T.Store(t.Sums + 12 * T.Width, c6_0); T.Store(t.Sums + 13 * T.Width, c6_1);
            T.Store(t.Sums + 14 * T.Width, c7_0); T.Store(t.Sums + 15 * T.Width, c7_1);
            T.Store(t.Sums + 16 * T.Width, c8_0); T.Store(t.Sums + 17 * T.Width, c8_1);
            T.Store(t.Sums + 18 * T.Width, c9_0); T.Store(t.Sums + 19 * T.Width, c9_1);
            T.Store(t.Sums + 20 * T.Width, c10_0); T.Store(t.Sums + 21 * T.Width, c10_1);
            T.Store(t.Sums + 22 * T.Width, c11_0); T.Store(t.Sums + 23 * T.Width, c11_1);
        }

        /// <summary>12 places of a kernel row × 1 vectors of filters.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Sum12x1<T>(in SumTile t) where T : struct, ISimd<T>
        {
            T c0_0 = T.Load(t.Sums + 0 * T.Width), c1_0 = T.Load(t.Sums + 1 * T.Width), c2_0 = T.Load(t.Sums + 2 * T.Width), c3_0 = T.Load(t.Sums + 3 * T.Width), c4_0 = T.Load(t.Sums + 4 * T.Width), c5_0 = T.Load(t.Sums + 5 * T.Width), c6_0 = T.Load(t.Sums + 6 * T.Width), c7_0 = T.Load(t.Sums + 7 * T.Width), c8_0 = T.Load(t.Sums + 8 * T.Width), c9_0 = T.Load(t.Sums + 9 * T.Width), c10_0 = T.Load(t.Sums + 10 * T.Width), c11_0 = T.Load(t.Sums + 11 * T.Width);
            for (int line = 0; line < t.Images * t.Rows; line++)
            {
                int image = line / t.Rows, row = line % t.Rows;
                float* a = t.Input + image * t.InputImageStride + row * t.InputRowStride;
                float* g = t.GradY + image * t.GradImageStride + row * t.GradRowStride;
                for (int pixel = t.Columns; pixel > 0; pixel--)
                {
                    T g0 = T.Load(g);
                    { T x = T.Create(a[0]); c0_0 = T.Fma(x, g0, c0_0); }
                    { T x = T.Create(a[1]); c1_0 = T.Fma(x, g0, c1_0); }
                    { T x = T.Create(a[2]); c2_0 = T.Fma(x, g0, c2_0); }
                    { T x = T.Create(a[3]); c3_0 = T.Fma(x, g0, c3_0); }
                    { T x = T.Create(a[4]); c4_0 = T.Fma(x, g0, c4_0); }
                    { T x = T.Create(a[5]); c5_0 = T.Fma(x, g0, c5_0); }
                    { T x = T.Create(a[6]); c6_0 = T.Fma(x, g0, c6_0); }
                    { T x = T.Create(a[7]); c7_0 = T.Fma(x, g0, c7_0); }
                    { T x = T.Create(a[8]); c8_0 = T.Fma(x, g0, c8_0); }
                    { T x = T.Create(a[9]); c9_0 = T.Fma(x, g0, c9_0); }
                    { T x = T.Create(a[10]); c10_0 = T.Fma(x, g0, c10_0); }
                    { T x = T.Create(a[11]); c11_0 = T.Fma(x, g0, c11_0); }
                    a += t.InputStep;
                    g += t.GradStep;
                }
            }
            T.Store(t.Sums + 0 * T.Width, c0_0);
            T.Store(t.Sums + 1 * T.Width, c1_0);
            T.Store(t.Sums + 2 * T.Width, c2_0);
            T.Store(t.Sums + 3 * T.Width, c3_0);
            T.Store(t.Sums + 4 * T.Width, c4_0);
            T.Store(t.Sums + 5 * T.Width, c5_0);
            T.Store(t.Sums + 6 * T.Width, c6_0);
            T.Store(t.Sums + 7 * T.Width, c7_0);
            T.Store(t.Sums + 8 * T.Width, c8_0);
            T.Store(t.Sums + 9 * T.Width, c9_0);
            T.Store(t.Sums + 10 * T.Width, c10_0);
            T.Store(t.Sums + 11 * T.Width, c11_0);
        }

        /// <summary>6 places of a kernel row × 2 vectors of filters.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Sum6x2<T>(in SumTile t) where T : struct, ISimd<T>
        {
            T c0_0 = T.Load(t.Sums + 0 * T.Width), c0_1 = T.Load(t.Sums + 1 * T.Width), c1_0 = T.Load(t.Sums + 2 * T.Width), c1_1 = T.Load(t.Sums + 3 * T.Width), c2_0 = T.Load(t.Sums + 4 * T.Width), c2_1 = T.Load(t.Sums + 5 * T.Width), c3_0 = T.Load(t.Sums + 6 * T.Width), c3_1 = T.Load(t.Sums + 7 * T.Width), c4_0 = T.Load(t.Sums + 8 * T.Width), c4_1 = T.Load(t.Sums + 9 * T.Width), c5_0 = T.Load(t.Sums + 10 * T.Width), c5_1 = T.Load(t.Sums + 11 * T.Width);
            for (int line = 0; line < t.Images * t.Rows; line++)
            {
                int image = line / t.Rows, row = line % t.Rows;
                float* a = t.Input + image * t.InputImageStride + row * t.InputRowStride;
                float* g = t.GradY + image * t.GradImageStride + row * t.GradRowStride;
                for (int pixel = t.Columns; pixel > 0; pixel--)
                {
                    T g0 = T.Load(g);
                    T g1 = T.Load(g + 1 * T.Width);
                    { T x = T.Create(a[0]); c0_0 = T.Fma(x, g0, c0_0); c0_1 = T.Fma(x, g1, c0_1); }
                    { T x = T.Create(a[1]); c1_0 = T.Fma(x, g0, c1_0); c1_1 = T.Fma(x, g1, c1_1); }
                    { T x = T.Create(a[2]); c2_0 = T.Fma(x, g0, c2_0); c2_1 = T.Fma(x, g1, c2_1); }
                    { T x = T.Create(a[3]); c3_0 = T.Fma(x, g0, c3_0); c3_1 = T.Fma(x, g1, c3_1); }
                    { T x = T.Create(a[4]); c4_0 = T.Fma(x, g0, c4_0); c4_1 = T.Fma(x, g1, c4_1); }
                    { T x = T.Create(a[5]); c5_0 = T.Fma(x, g0, c5_0); c5_1 = T.Fma(x, g1, c5_1); }
                    a += t.InputStep;
                    g += t.GradStep;
                }
            }
            T.Store(t.Sums + 0 * T.Width, c0_0); T.Store(t.Sums + 1 * T.Width, c0_1);
            T.Store(t.Sums + 2 * T.Width, c1_0); T.Store(t.Sums + 3 * T.Width, c1_1);
            T.Store(t.Sums + 4 * T.Width, c2_0); T.Store(t.Sums + 5 * T.Width, c2_1);
            T.Store(t.Sums + 6 * T.Width, c3_0); T.Store(t.Sums + 7 * T.Width, c3_1);
            T.Store(t.Sums + 8 * T.Width, c4_0); T.Store(t.Sums + 9 * T.Width, c4_1);
            T.Store(t.Sums + 10 * T.Width, c5_0); T.Store(t.Sums + 11 * T.Width, c5_1);
        }

        /// <summary>4 places of a kernel row × 2 vectors of filters.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Sum4x2<T>(in SumTile t) where T : struct, ISimd<T>
        {
            T c0_0 = T.Load(t.Sums + 0 * T.Width), c0_1 = T.Load(t.Sums + 1 * T.Width), c1_0 = T.Load(t.Sums + 2 * T.Width), c1_1 = T.Load(t.Sums + 3 * T.Width), c2_0 = T.Load(t.Sums + 4 * T.Width), c2_1 = T.Load(t.Sums + 5 * T.Width), c3_0 = T.Load(t.Sums + 6 * T.Width), c3_1 = T.Load(t.Sums + 7 * T.Width);
            for (int line = 0; line < t.Images * t.Rows; line++)
            {
                int image = line / t.Rows, row = line % t.Rows;
                float* a = t.Input + image * t.InputImageStride + row * t.InputRowStride;
                float* g = t.GradY + image * t.GradImageStride + row * t.GradRowStride;
                for (int pixel = t.Columns; pixel > 0; pixel--)
                {
                    T g0 = T.Load(g);
                    T g1 = T.Load(g + 1 * T.Width);
                    { T x = T.Create(a[0]); c0_0 = T.Fma(x, g0, c0_0); c0_1 = T.Fma(x, g1, c0_1); }
                    { T x = T.Create(a[1]); c1_0 = T.Fma(x, g0, c1_0); c1_1 = T.Fma(x, g1, c1_1); }
                    { T x = T.Create(a[2]); c2_0 = T.Fma(x, g0, c2_0); c2_1 = T.Fma(x, g1, c2_1); }
                    { T x = T.Create(a[3]); c3_0 = T.Fma(x, g0, c3_0); c3_1 = T.Fma(x, g1, c3_1); }
                    a += t.InputStep;
                    g += t.GradStep;
                }
            }
            T.Store(t.Sums + 0 * T.Width, c0_0); T.Store(t.Sums + 1 * T.Width, c0_1);
            T.Store(t.Sums + 2 * T.Width, c1_0); T.Store(t.Sums + 3 * T.Width, c1_1);
            T.Store(t.Sums + 4 * T.Width, c2_0); T.Store(t.Sums + 5 * T.Width, c2_1);
            T.Store(t.Sums + 6 * T.Width, c3_0); T.Store(t.Sums + 7 * T.Width, c3_1);
        }

        /// <summary>4 places of a kernel row × 1 vectors of filters.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Sum4x1<T>(in SumTile t) where T : struct, ISimd<T>
        {
            T c0_0 = T.Load(t.Sums + 0 * T.Width), c1_0 = T.Load(t.Sums + 1 * T.Width), c2_0 = T.Load(t.Sums + 2 * T.Width), c3_0 = T.Load(t.Sums + 3 * T.Width);
            for (int line = 0; line < t.Images * t.Rows; line++)
            {
                int image = line / t.Rows, row = line % t.Rows;
                float* a = t.Input + image * t.InputImageStride + row * t.InputRowStride;
                float* g = t.GradY + image * t.GradImageStride + row * t.GradRowStride;
                for (int pixel = t.Columns; pixel > 0; pixel--)
                {
                    T g0 = T.Load(g);
                    { T x = T.Create(a[0]); c0_0 = T.Fma(x, g0, c0_0); }
                    { T x = T.Create(a[1]); c1_0 = T.Fma(x, g0, c1_0); }
                    { T x = T.Create(a[2]); c2_0 = T.Fma(x, g0, c2_0); }
                    { T x = T.Create(a[3]); c3_0 = T.Fma(x, g0, c3_0); }
                    a += t.InputStep;
                    g += t.GradStep;
                }
            }
            T.Store(t.Sums + 0 * T.Width, c0_0);
            T.Store(t.Sums + 1 * T.Width, c1_0);
            T.Store(t.Sums + 2 * T.Width, c2_0);
            T.Store(t.Sums + 3 * T.Width, c3_0);
        }
    }
}
