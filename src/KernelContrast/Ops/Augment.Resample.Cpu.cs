using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KernelContrast.Augment;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AugmentOp
{
    internal sealed unsafe partial class Cpu
    {
        private const float ByteToUnit = 1f / 255;

        // Crop, resize and flip in two passes, vertical first. Rows are read as vectors; what the vertical pass makes is
        // stored column by column, so that the horizontal pass has vectors too.
        private static void Resize<T>(byte* image, ViewRecipe recipe, in ViewParameters p, Scratch s) where T : struct, ISimd<T>
        {
            ResampleTable vertical = s.Vertical, horizontal = s.Horizontal;
            vertical.Fill(p.Height, s.OutHeight, recipe.Interpolation, recipe.Antialias, reverse: false);
            horizontal.Fill(p.Width, s.OutWidth, recipe.Interpolation, recipe.Antialias, reverse: p.Flip);
            int stride = (p.Width + 15) / 16 * 16, columnStride = (s.OutHeight + 15) / 16 * 16;
            for (int c = 0; c < s.Channels; c++)
            {
                byte* corner = image + ((long)c * s.Height + p.Top) * s.Width + p.Left;
                for (int y = 0; y < p.Height; y++) ToUnits<T>(s.Source + y * stride, corner + y * s.Width, p.Width);

                // four rows at a time, then turned into columns; what is beyond the last row or column is never read
                for (int y = 0; y < s.OutHeight; y += 4)
                {
                    for (int row = 0; row < 4; row++)
                    {
                        int from = Math.Min(y + row, s.OutHeight - 1);
                        float* weights = vertical.Weights + from * vertical.Taps;
                        float* first = s.Source + vertical.First[from] * stride;
                        for (int x = 0; x < p.Width; x += T.Width)
                            T.Store(s.Rows + row * stride + x, Taps<T>(first + x, stride, weights, vertical.Taps));
                    }
                    for (int x = 0; x < p.Width; x += 4)
                        Transpose4(s.Columns + x * columnStride + y, columnStride, s.Rows + x, stride);
                }

                // ascending, since a vector may run over into the next column
                float* plane = s.Plane(c);
                for (int x = 0; x < s.OutWidth; x++)
                {
                    float* weights = horizontal.Weights + x * horizontal.Taps;
                    float* first = s.Columns + horizontal.First[x] * columnStride;
                    for (int y = 0; y < s.OutHeight; y += T.Width)
                        T.Store(plane + x * s.OutHeight + y, Clamp(Taps<T>(first + y, columnStride, weights, horizontal.Taps)));
                }
            }
        }

        // to[x, y] = from[y, x] for four of each
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Transpose4(float* to, int toStride, float* from, int fromStride)
        {
            if (!Sse.IsSupported)
            {
                for (int x = 0; x < 4; x++)
                    for (int y = 0; y < 4; y++) to[x * toStride + y] = from[y * fromStride + x];
                return;
            }
            Vector128<float> a = Vector128.Load(from), b = Vector128.Load(from + fromStride);
            Vector128<float> c = Vector128.Load(from + 2 * fromStride), d = Vector128.Load(from + 3 * fromStride);
            Vector128<float> ab = Sse.UnpackLow(a, b), cd = Sse.UnpackLow(c, d);
            Sse.MoveLowToHigh(ab, cd).Store(to);
            Sse.MoveHighToLow(cd, ab).Store(to + toStride);
            (ab, cd) = (Sse.UnpackHigh(a, b), Sse.UnpackHigh(c, d));
            Sse.MoveLowToHigh(ab, cd).Store(to + 2 * toStride);
            Sse.MoveHighToLow(cd, ab).Store(to + 3 * toStride);
        }

        // Σ_k weights[k] · values[k · stride]
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static T Taps<T>(float* values, int stride, float* weights, int taps) where T : struct, ISimd<T>
        {
            T sum = T.Mul(T.Create(weights[0]), T.Load(values));
            for (int k = 1; k < taps; k++) sum = T.Fma(T.Create(weights[k]), T.Load(values + k * stride), sum);
            return sum;
        }

        // Crop, turn, shear, shift and flip in one bilinear pass over the whole image, black outside: the source has a
        // border of zeros, and coordinates are held to it, so that a pixel fades out over the border's first pixel.
        private static void Warp<T>(byte* image, in ViewParameters p, Scratch s) where T : struct, ISimd<T>
        {
            int stride = s.Width + 3;
            for (int c = 0; c < s.Channels; c++)
            {
                float* source = s.Source + c * s.SourceStride;
                new Span<float>(source, (s.Height + 3) * stride).Clear();
                for (int y = 0; y < s.Height; y++)
                    ToUnits<T>(source + (y + 1) * stride + 1, image + ((long)c * s.Height + y) * s.Width, s.Width);
            }
            float* numbers = stackalloc float[T.Width];
            for (int i = 0; i < T.Width; i++) numbers[i] = i;
            T lane = T.Load(numbers), one = T.Create(1), least = T.Create(-1), strideV = T.Create(stride);
            T mostX = T.Create(s.Width), mostY = T.Create(s.Height);
            for (int x = 0; x < s.OutWidth; x++)
            {
                float u = x + 0.5f - s.OutWidth * 0.5f;
                T startX = T.Create(p.Xx * u + p.X0 - 0.5f), startY = T.Create(p.Yx * u + p.Y0 - 0.5f);
                for (int y = 0; y < s.OutHeight; y += T.Width)
                {
                    T v = T.Add(lane, T.Create(y + 0.5f - s.OutHeight * 0.5f));
                    T sx = T.Min(T.Max(T.Fma(T.Create(p.Xy), v, startX), least), mostX);
                    T sy = T.Min(T.Max(T.Fma(T.Create(p.Yy), v, startY), least), mostY);
                    T left = T.Floor(sx), top = T.Floor(sy), fx = T.Sub(sx, left), fy = T.Sub(sy, top);
                    T index = T.Fma(T.Add(top, one), strideV, T.Add(left, one));
                    for (int c = 0; c < s.Channels; c++)
                    {
                        float* source = s.Source + c * s.SourceStride;
                        T a = T.Gather(source, index), b = T.Gather(source + 1, index);
                        T d = T.Gather(source + stride, index), e = T.Gather(source + stride + 1, index);
                        T upper = T.Fma(fx, T.Sub(b, a), a), lower = T.Fma(fx, T.Sub(e, d), d);
                        T.Store(s.Plane(c) + x * s.OutHeight + y, T.Fma(fy, T.Sub(lower, upper), upper));
                    }
                }
            }
        }

        // units[i] = bytes[i] / 255
        private static void ToUnits<T>(float* units, byte* bytes, int count) where T : struct, ISimd<T>
        {
            int i = 0;
            for (T scale = T.Create(ByteToUnit); i + T.Width <= count; i += T.Width)
                T.Store(units + i, T.Mul(T.LoadBytes(bytes + i), scale));
            for (; i < count; i++) units[i] = bytes[i] * ByteToUnit;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static T Clamp<T>(T x) where T : struct, ISimd<T> => T.Min(T.Max(x, T.Zero), T.Create(1));
    }
}
