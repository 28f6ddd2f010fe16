using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class BatchNormOp
{
    /// <summary>
    /// Channels are innermost, so a tensor is rows × channels. With few channels several rows are taken as one wide
    /// row, whose per-channel numbers repeat, so that narrow layers use whole vectors too.
    /// </summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Statistics(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, Tensor x, float momentum, float epsilon)
        {
            var layout = new Layout(x);
            // Deviations from the first row do not cancel as squares of large values would.
            float[] shift = layout.Repeat(x.Floats);
            double[] sums = layout.Sum(x.Floats, x.Floats, activated: null, shift);
            for (int c = 0; c < layout.Channels; c++)
            {
                double offset = sums[c] / layout.Rows, variance = sums[layout.Channels + c] / layout.Rows - offset * offset;
                // Rounding may leave a constant channel a hair below zero; NaN stays NaN.
                if (variance < 0) variance = 0;
                double center = shift[c] + offset, unbiased = variance * layout.Rows / (layout.Rows - 1.0);
                mean.Floats[c] = (float)center;
                inverseDeviation.Floats[c] = (float)(1 / Math.Sqrt(variance + epsilon));
                runningMean.Floats[c] = (float)((1.0 - momentum) * runningMean.Floats[c] + momentum * center);
                runningVariance.Floats[c] = (float)((1.0 - momentum) * runningVariance.Floats[c] + momentum * unbiased);
            }
        }

        internal override void FromRunning(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, float epsilon)
        {
            for (int c = 0; c < mean.Count; c++)
            {
                mean.Floats[c] = runningMean.Floats[c];
                inverseDeviation.Floats[c] = (float)(1 / Math.Sqrt((double)runningVariance.Floats[c] + epsilon));
            }
        }

        internal override void Normalize(Tensor y, Tensor x, Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, Tensor? residual, bool relu)
        {
            var layout = new Layout(x);
            var scale = new float[layout.Channels];
            for (int c = 0; c < scale.Length; c++) scale[c] = inverseDeviation.Floats[c] * (gamma is null ? 1 : gamma.Floats[c]);
            float[] center = layout.Repeat(mean.Floats), wideScale, wideShift;
            fixed (float* s = scale) wideScale = layout.Repeat(s);
            wideShift = beta is null ? new float[layout.Lanes] : layout.Repeat(beta.Floats);
            layout.ForRows((from, to) =>
            {
                fixed (float* m = center, s = wideScale, b = wideShift)
                {
                    var pass = new NormalizePass { Y = y.Floats, X = x.Floats, Residual = residual is null ? null : residual.Floats, Mean = m, Scale = s, Shift = b, Relu = relu };
                    switch (Simd.Bits)
                    {
                        case 512: Normalize<F512>(pass, from, to, layout.Lanes); break;
                        case 256: Normalize<F256>(pass, from, to, layout.Lanes); break;
                        default: Normalize<F128>(pass, from, to, layout.Lanes); break;
                    }
                }
            });
        }

        internal override void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor? gradResidual, Tensor gradY, Tensor x, Tensor? activated,
            Tensor mean, Tensor inverseDeviation, Tensor? gamma, bool training)
        {
            var layout = new Layout(x);
            int channels = layout.Channels;
            float[] center = layout.Repeat(mean.Floats);
            float* mask = activated is null ? null : activated.Floats;
            // Σg and Σg·(x − μ)
            double[] sums = layout.Sum(gradY.Floats, x.Floats, mask, center, products: true);
            for (int c = 0; c < channels; c++)
            {
                if (gradBeta is not null) gradBeta.Floats[c] = (float)sums[c];
                if (gradGamma is not null) gradGamma.Floats[c] = (float)(sums[channels + c] * inverseDeviation.Floats[c]);
            }
            if (gradX is null && gradResidual is null) return;

            // grad_x = scale·g + slope·(x − μ) + offset
            float[] scale = new float[channels], slope = new float[channels], offset = new float[channels];
            for (int c = 0; c < channels; c++)
            {
                double r = inverseDeviation.Floats[c], factor = r * (gamma is null ? 1 : gamma.Floats[c]);
                scale[c] = (float)factor;
                if (!training) continue;
                slope[c] = (float)(-factor * r * r * sums[channels + c] / layout.Rows);
                offset[c] = (float)(-factor * sums[c] / layout.Rows);
            }
            float[] wideScale, wideSlope, wideOffset;
            fixed (float* a = scale, b = slope, c = offset) (wideScale, wideSlope, wideOffset) = (layout.Repeat(a), layout.Repeat(b), layout.Repeat(c));
            layout.ForRows((from, to) =>
            {
                fixed (float* m = center, a = wideScale, b = wideSlope, c = wideOffset)
                {
                    var pass = new BackwardPass
                    {
                        GradX = gradX is null ? null : gradX.Floats,
                        GradResidual = gradResidual is null ? null : gradResidual.Floats,
                        GradY = gradY.Floats,
                        X = x.Floats,
                        Activated = mask,
                        Mean = m,
                        Scale = a,
                        Slope = b,
                        Offset = c,
                    };
                    switch (Simd.Bits)
                    {
                        case 512: Backward<F512>(pass, from, to, layout.Lanes); break;
                        case 256: Backward<F256>(pass, from, to, layout.Lanes); break;
                        default: Backward<F128>(pass, from, to, layout.Lanes); break;
                    }
                }
            });
        }

        private struct NormalizePass
        {
            internal float* Y, X, Residual, Mean, Scale, Shift;
            internal bool Relu;
        }

        private struct BackwardPass
        {
            internal float* GradX, GradResidual, GradY, X, Activated, Mean, Scale, Slope, Offset;
        }

        /// <summary>y[i] = relu?((x[i] − mean)·scale + shift + residual[i]) for i in [from, to); lanes repeat.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Normalize<T>(NormalizePass p, long from, long to, int lanes) where T : struct, ISimd<T>
        {
            T floor = T.Create(p.Relu ? 0 : float.NegativeInfinity);
            for (long row = from; row < to; row += lanes)
            {
                int count = (int)Math.Min(lanes, to - row);
                for (int lane = 0; lane < count; lane += T.Width)
                {
                    int here = count - lane;
                    long i = row + lane;
                    if (here >= T.Width)
                    {
                        T v = T.Fma(T.Sub(T.Load(p.X + i), T.Load(p.Mean + lane)), T.Load(p.Scale + lane), T.Load(p.Shift + lane));
                        if (p.Residual is not null) v = T.Add(v, T.Load(p.Residual + i));
                        T.Store(p.Y + i, T.Max(v, floor));
                    }
                    else
                    {
                        T v = T.Fma(T.Sub(T.LoadPartial(p.X + i, here, 0), T.Load(p.Mean + lane)), T.Load(p.Scale + lane), T.Load(p.Shift + lane));
                        if (p.Residual is not null) v = T.Add(v, T.LoadPartial(p.Residual + i, here, 0));
                        T.StorePartial(p.Y + i, T.Max(v, floor), here);
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Backward<T>(BackwardPass p, long from, long to, int lanes) where T : struct, ISimd<T>
        {
            for (long row = from; row < to; row += lanes)
            {
                int count = (int)Math.Min(lanes, to - row);
                for (int lane = 0; lane < count; lane += T.Width)
                {
                    int here = Math.Min(T.Width, count - lane);
                    bool whole = here == T.Width;
                    long i = row + lane;
                    T g = whole ? T.Load(p.GradY + i) : T.LoadPartial(p.GradY + i, here, 0);
                    if (p.Activated is not null)
                        g = T.SelectGreater(whole ? T.Load(p.Activated + i) : T.LoadPartial(p.Activated + i, here, 0), T.Zero, g, T.Zero);
                    if (p.GradResidual is not null)
                    {
                        if (whole) T.Store(p.GradResidual + i, g); else T.StorePartial(p.GradResidual + i, g, here);
                    }
                    if (p.GradX is null) continue;
                    T deviation = T.Sub(whole ? T.Load(p.X + i) : T.LoadPartial(p.X + i, here, 0), T.Load(p.Mean + lane));
                    T v = T.Fma(g, T.Load(p.Scale + lane), T.Fma(deviation, T.Load(p.Slope + lane), T.Load(p.Offset + lane)));
                    if (whole) T.Store(p.GradX + i, v); else T.StorePartial(p.GradX + i, v, here);
                }
            }
        }

        /// <summary>A tensor as rows × channels, and as wide rows of several.</summary>
        private sealed class Layout
        {
            private const int Widest = 64;

            // Float sums run over this many wide rows before they go on in double.
            private const int Chunk = 64;

            private readonly CpuDevice _cpu;
            private readonly long _count;

            internal Layout(Tensor x)
            {
                _cpu = (CpuDevice)x.Device;
                _count = x.Count;
                Channels = x.Shape[1];
                Rows = _count / Channels;
                Lanes = Channels * Math.Max(1, Widest / Channels);
            }

            internal int Channels { get; }
            internal long Rows { get; }

            /// <summary>Elements of a wide row.</summary>
            internal int Lanes { get; }

            /// <summary>Per-channel numbers repeated along a wide row, with room to load a whole vector at its end.</summary>
            internal float[] Repeat(float* perChannel)
            {
                var lanes = new float[Lanes + 16];
                for (int i = 0; i < Lanes; i++) lanes[i] = perChannel[i % Channels];
                return lanes;
            }

            /// <summary>Calls body with ranges of elements that begin at wide rows.</summary>
            internal void ForRows(Action<long, long> body) =>
                _cpu.Workers.ForRanges((_count + Lanes - 1) / Lanes, Math.Max(1, CpuGrain.Elementwise / Lanes),
                    (from, to) => body(from * Lanes, Math.Min(to * Lanes, _count)));

            /// <summary>
            /// Per channel, with g = a, zero where activated is not positive: products: Σg and Σg·(b − shift); otherwise
            /// Σ(b − shift) and Σ(b − shift)². Parts are fixed by the size alone and added in order.
            /// </summary>
            internal double[] Sum(float* a, float* b, float* activated, float[] shift, bool products = false)
            {
                long wideRows = (_count + Lanes - 1) / Lanes;
                int parts = (int)Math.Clamp(wideRows * Lanes / 8192, 1, 64), lanes = Lanes;
                var partial = new double[parts * 2 * lanes];
                _cpu.Workers.For(parts, (_, part) =>
                {
                    long from = wideRows * part / parts * lanes, to = Math.Min(wideRows * (part + 1) / parts * lanes, _count);
                    fixed (double* sums = &partial[part * 2 * lanes])
                    fixed (float* s = shift)
                    {
                        switch (Simd.Bits)
                        {
                            case 512: Sum<F512>(sums, a, b, activated, s, from, to, lanes, products); break;
                            case 256: Sum<F256>(sums, a, b, activated, s, from, to, lanes, products); break;
                            default: Sum<F128>(sums, a, b, activated, s, from, to, lanes, products); break;
                        }
                    }
                });
                var total = new double[2 * Channels];
                for (int part = 0; part < parts; part++)
                    for (int lane = 0; lane < lanes; lane++)
                    {
                        total[lane % Channels] += partial[part * 2 * lanes + lane];
                        total[Channels + lane % Channels] += partial[(part * 2 + 1) * lanes + lane];
                    }
                return total;
            }

            [MethodImpl(MethodImplOptions.AggressiveOptimization)]
            private static void Sum<T>(double* sums, float* a, float* b, float* activated, float* shift, long from, long to, int lanes, bool products)
                where T : struct, ISimd<T>
            {
                float* spill = stackalloc float[2 * T.Width];
                for (long chunk = from; chunk < to; chunk += (long)Chunk * lanes)
                {
                    long end = Math.Min(to, chunk + (long)Chunk * lanes);
                    for (int lane = 0; lane < lanes; lane += T.Width)
                    {
                        T center = T.Load(shift + lane), first = T.Zero, second = T.Zero;
                        int inRow = Math.Min(T.Width, lanes - lane);
                        for (long i = chunk + lane; i < end; i += lanes)
                        {
                            int here = (int)Math.Min(inRow, end - i);
                            bool whole = here == T.Width;
                            T x = whole ? T.Load(b + i) : T.LoadPartial(b + i, here, 0);
                            T deviation = T.Sub(x, center);
                            if (products)
                            {
                                T g = whole ? T.Load(a + i) : T.LoadPartial(a + i, here, 0);
                                if (activated is not null)
                                    g = T.SelectGreater(whole ? T.Load(activated + i) : T.LoadPartial(activated + i, here, 0), T.Zero, g, T.Zero);
                                first = T.Add(first, g);
                                second = T.Fma(g, deviation, second);
                                continue;
                            }
                            // Lanes past the end would count as −shift.
                            if (!whole) deviation = MaskTail<T>(deviation, here);
                            first = T.Add(first, deviation);
                            second = T.Fma(deviation, deviation, second);
                        }
                        T.Store(spill, first);
                        T.Store(spill + T.Width, second);
                        for (int i = 0; i < inRow; i++)
                        {
                            sums[lane + i] += spill[i];
                            sums[lanes + lane + i] += spill[T.Width + i];
                        }
                    }
                }
            }

            private static T MaskTail<T>(T value, int count) where T : struct, ISimd<T>
            {
                float* lanes = stackalloc float[T.Width];
                T.Store(lanes, value);
                return T.LoadPartial(lanes, count, 0);
            }
        }
    }
}
