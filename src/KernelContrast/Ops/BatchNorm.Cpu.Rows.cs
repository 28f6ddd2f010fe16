using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>The passes over memory, one struct each; pointers to per-channel numbers have one number per lane.</summary>
internal static partial class BatchNormOp
{
    /// <summary>
    /// A tensor as rows × channels, cut into wide rows of several. With at least 256 floats per wide row the running
    /// sums, kept in L1, never wait for their own last store; a wide row is a multiple of 16 floats where that takes
    /// no more than 1024.
    /// </summary>
    private readonly struct Layout
    {
        private const int Least = 256, Most = 1024;

        internal Layout(Tensor x)
        {
            Cpu = (CpuDevice)x.Device;
            Count = x.Count;
            Channels = x.Shape[1];
            Rows = Count / Channels;
            int even = 16 / Math.Min(16, Channels & -Channels);
            int together = even * Channels <= Most ? even : 1;
            Width = Channels * together * Math.Max(1, (Least + Channels * together - 1) / (Channels * together));
            WideRows = (Count + Width - 1) / Width;
            Parts = (int)Math.Min(WideRows, SimdRanges.Parts(Cpu, Count, CpuGrain.Elementwise));
        }

        internal CpuDevice Cpu { get; }
        internal long Count { get; }
        internal int Channels { get; }

        /// <summary>Values per channel.</summary>
        internal long Rows { get; }

        /// <summary>Elements of a wide row; the last of all may be shorter.</summary>
        internal int Width { get; }

        internal long WideRows { get; }
        internal int Parts { get; }

        internal void Run<TKernel>(TKernel kernel) where TKernel : struct, ISimdRange => SimdRanges.Run(Cpu, WideRows, Parts, kernel);
    }

    /// <summary>Two sums per lane and part: of floats over a few wide rows, then in double.</summary>
    private readonly unsafe ref struct PartSums
    {
        private const int RowsInFloat = 64;

        private readonly Layout _layout;
        private readonly Tensor _memory;

        internal PartSums(in Layout layout)
        {
            _layout = layout;
            Stride = (layout.Width + 31) / 16 * 16;
            using (TensorScope.Suspend()) _memory = Tensor.Zeros(new(layout.Parts, 6, Stride), layout.Cpu);
            Base = _memory.Floats;
        }

        /// <summary>Per part: two rows of doubles and two of floats, each this long.</summary>
        internal int Stride { get; }

        internal float* Base { get; }

        public void Dispose() => _memory.Dispose();

        /// <summary>Where a part keeps its first float sum; the second is Stride further.</summary>
        internal static float* FloatsOf(float* sums, int stride, int part) => sums + (long)part * 6 * stride + 4 * stride;

        /// <summary>Adds the float sums to the double ones and clears them, every 64 rows and at the end.</summary>
        internal static void Flush(float* sums, int stride, int part, long row, long end)
        {
            if ((row + 1) % RowsInFloat != 0 && row + 1 != end) return;
            float* floats = FloatsOf(sums, stride, part);
            double* doubles = (double*)(sums + (long)part * 6 * stride);
            for (int i = 0; i < 2 * stride; i++)
            {
                doubles[i] += floats[i];
                floats[i] = 0;
            }
        }

        /// <summary>Both sums per channel, parts and lanes added in order.</summary>
        internal (double[] First, double[] Second) Total()
        {
            double[] first = new double[_layout.Channels], second = new double[_layout.Channels];
            for (int part = 0; part < _layout.Parts; part++)
            {
                double* doubles = (double*)(Base + (long)part * 6 * Stride);
                for (int lane = 0, c = 0; lane < _layout.Width; lane++, c = c + 1 == _layout.Channels ? 0 : c + 1)
                {
                    first[c] += doubles[lane];
                    second[c] += doubles[Stride + lane];
                }
            }
            return (first, second);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe T Load<T>(float* source, int count) where T : struct, ISimd<T> =>
        count == T.Width ? T.Load(source) : T.LoadPartial(source, count, 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Store<T>(float* destination, T value, int count) where T : struct, ISimd<T>
    {
        if (count == T.Width) T.Store(destination, value);
        else T.StorePartial(destination, value, count);
    }

    /// <summary>Σ(x − center) and Σ(x − center)².</summary>
    private unsafe struct StatisticsRows : ISimdRange
    {
        internal float* X, Center, Sums;
        internal int Stride;
        internal Layout Layout;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            float* center = Center, first = PartSums.FloatsOf(Sums, Stride, part), second = first + Stride;
            for (long row = start; row < end; row++)
            {
                float* x = X + row * Layout.Width;
                int count = (int)Math.Min(Layout.Width, Layout.Count - row * Layout.Width), lane = 0;
                for (; lane + T.Width <= count; lane += T.Width) Step<T>(x + lane, center + lane, first + lane, second + lane, T.Width);
                if (lane < count) Step<T>(x + lane, center + lane, first + lane, second + lane, count - lane);
                PartSums.Flush(Sums, Stride, part, row, end);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Step<T>(float* x, float* center, float* first, float* second, int count) where T : struct, ISimd<T>
        {
            T deviation = T.Sub(Load<T>(x, count), Load<T>(center, count));
            T.Store(first, T.Add(T.Load(first), deviation));
            T.Store(second, T.Fma(deviation, deviation, T.Load(second)));
        }
    }

    /// <summary>y = (x − mean)·scale + shift, + residual, ReLU.</summary>
    private unsafe struct NormalizeRows : ISimdRange
    {
        internal float* Y, X, Residual, Mean, Scale, Shift;
        internal bool Relu;
        internal Layout Layout;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            float* mean = Mean, scale = Scale, shift = Shift;
            T floor = T.Create(Relu ? 0 : float.NegativeInfinity);
            for (long row = start; row < end; row++)
            {
                long at = row * Layout.Width;
                float* y = Y + at, x = X + at, residual = Residual == null ? null : Residual + at;
                int count = (int)Math.Min(Layout.Width, Layout.Count - at), lane = 0;
                for (; lane + T.Width <= count; lane += T.Width) Step(y, x, residual, mean, scale, shift, floor, lane, T.Width);
                if (lane < count) Step(y, x, residual, mean, scale, shift, floor, lane, count - lane);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Step<T>(float* y, float* x, float* residual, float* mean, float* scale, float* shift, T floor, int lane, int count)
            where T : struct, ISimd<T>
        {
            T value = T.Fma(T.Sub(Load<T>(x + lane, count), T.Load(mean + lane)), T.Load(scale + lane), T.Load(shift + lane));
            if (residual != null) value = T.Add(value, Load<T>(residual + lane, count));
            Store(y + lane, T.Max(value, floor), count);
        }
    }

    /// <summary>Where a fused ReLU let the gradient through: y &gt; 0, with y read or, to save memory, computed again.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe T Masked<T>(T gradient, T deviation, float* y, float* scale, float* shift, bool relu, int count) where T : struct, ISimd<T>
    {
        if (!relu) return gradient;
        T value = y != null ? Load<T>(y, count) : T.Fma(deviation, T.Load(scale), T.Load(shift));
        return T.SelectGreater(value, T.Zero, gradient, T.Zero);
    }

    /// <summary>With g the gradient behind the ReLU: Σg, Σg·(x − mean), and g itself as the residual's gradient.</summary>
    private unsafe struct BackwardSumRows : ISimdRange
    {
        internal float* GradResidual, GradY, X, Y, Mean, Scale, Shift, Sums;
        internal int Stride;
        internal bool Relu;
        internal Layout Layout;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            float* mean = Mean, scale = Scale, shift = Shift, first = PartSums.FloatsOf(Sums, Stride, part), second = first + Stride;
            bool relu = Relu;
            for (long row = start; row < end; row++)
            {
                long at = row * Layout.Width;
                float* gradY = GradY + at, x = X + at, y = Y == null ? null : Y + at, gradResidual = GradResidual == null ? null : GradResidual + at;
                int count = (int)Math.Min(Layout.Width, Layout.Count - at), lane = 0;
                for (; lane + T.Width <= count; lane += T.Width)
                    Step<T>(gradResidual, gradY, x, y, mean, scale, shift, first, second, relu, lane, T.Width);
                if (lane < count) Step<T>(gradResidual, gradY, x, y, mean, scale, shift, first, second, relu, lane, count - lane);
                PartSums.Flush(Sums, Stride, part, row, end);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Step<T>(float* gradResidual, float* gradY, float* x, float* y, float* mean, float* scale, float* shift,
            float* first, float* second, bool relu, int lane, int count) where T : struct, ISimd<T>
        {
            T deviation = T.Sub(Load<T>(x + lane, count), Load<T>(mean + lane, count));
            T g = Masked(Load<T>(gradY + lane, count), deviation, y == null ? null : y + lane, scale + lane, shift + lane, relu, count);
            if (gradResidual != null) Store(gradResidual + lane, g, count);
            T.Store(first + lane, T.Add(T.Load(first + lane), g));
            T.Store(second + lane, T.Fma(g, deviation, T.Load(second + lane)));
        }
    }

    /// <summary>grad_x = scale·g + slope·(x − mean) + offset.</summary>
    private unsafe struct BackwardRows : ISimdRange
    {
        internal float* GradX, GradY, X, Y, Mean, Scale, Shift, Slope, Offset;
        internal bool Relu;
        internal Layout Layout;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            float* mean = Mean, scale = Scale, shift = Shift, slope = Slope, offset = Offset;
            bool relu = Relu;
            for (long row = start; row < end; row++)
            {
                long at = row * Layout.Width;
                float* gradX = GradX + at, gradY = GradY + at, x = X + at, y = Y == null ? null : Y + at;
                int count = (int)Math.Min(Layout.Width, Layout.Count - at), lane = 0;
                for (; lane + T.Width <= count; lane += T.Width)
                    Step<T>(gradX, gradY, x, y, mean, scale, shift, slope, offset, relu, lane, T.Width);
                if (lane < count) Step<T>(gradX, gradY, x, y, mean, scale, shift, slope, offset, relu, lane, count - lane);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Step<T>(float* gradX, float* gradY, float* x, float* y, float* mean, float* scale, float* shift,
            float* slope, float* offset, bool relu, int lane, int count) where T : struct, ISimd<T>
        {
            T deviation = T.Sub(Load<T>(x + lane, count), T.Load(mean + lane));
            T g = Masked(Load<T>(gradY + lane, count), deviation, y == null ? null : y + lane, scale + lane, shift + lane, relu, count);
            T rest = T.Fma(deviation, T.Load(slope + lane), T.Load(offset + lane));
            Store(gradX + lane, T.Fma(g, T.Load(scale + lane), rest), count);
        }
    }
}
