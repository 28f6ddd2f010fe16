using System.Runtime.CompilerServices;
using KernelContrast.Augment;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AugmentOp
{
    internal sealed unsafe partial class Cpu
    {
        // ITU-R BT.601 luma as torchvision and TensorFlow round it
        private const float RedWeight = 0.2989f, GreenWeight = 0.587f, BlueWeight = 0.114f;

        private static void Jitter<T>(ViewRecipe recipe, in ViewParameters p, Scratch s) where T : struct, ISimd<T>
        {
            Span<int> order = stackalloc int[4];
            JitterOrder(p.JitterOrder, order);
            bool colour = s.Channels == 3;
            foreach (int operation in order)
                switch (operation)
                {
                    case 0 when recipe.Brightness > 0: Brighten<T>(s, p.Brightness); break;
                    case 1 when recipe.Contrast > 0: ChangeContrast<T>(s, p.Contrast); break;
                    case 2 when recipe.Saturation > 0 && colour: Saturate<T>(s, p.Saturation); break;
                    case 3 when recipe.Hue > 0 && colour: TurnHue<T>(s, p.Hue); break;
                }
        }

        // x ← clamp(factor · x)
        private static void Brighten<T>(Scratch s, float factor) where T : struct, ISimd<T>
        {
            T f = T.Create(factor);
            for (int c = 0; c < s.Channels; c++)
            {
                float* plane = s.Plane(c);
                for (int i = 0; i < s.Pixels; i += T.Width) T.Store(plane + i, Clamp(T.Mul(f, T.Load(plane + i))));
            }
        }

        // x ← clamp(factor · x + (1 − factor) · mean of the image's grey)
        private static void ChangeContrast<T>(Scratch s, float factor) where T : struct, ISimd<T>
        {
            float* red = s.Plane(0), green = s.Plane(s.Channels / 2), blue = s.Plane(s.Channels - 1);
            int pixels = s.Pixels, whole = pixels / T.Width * T.Width;
            bool colour = s.Channels == 3;
            T sum = T.Zero;
            for (int i = 0; i < whole; i += T.Width)
                sum = T.Add(sum, colour ? Grey<T>(red + i, green + i, blue + i) : T.Load(red + i));
            float mean = T.Sum(sum);
            if (whole < pixels)
            {
                float* lanes = stackalloc float[T.Width];
                T.Store(lanes, colour ? Grey<T>(red + whole, green + whole, blue + whole) : T.Load(red + whole));
                for (int i = whole; i < pixels; i++) mean += lanes[i - whole];
            }
            T f = T.Create(factor), rest = T.Create((1 - factor) * (mean / pixels));
            for (int c = 0; c < s.Channels; c++)
            {
                float* plane = s.Plane(c);
                for (int i = 0; i < pixels; i += T.Width) T.Store(plane + i, Clamp(T.Fma(f, T.Load(plane + i), rest)));
            }
        }

        // x ← clamp(factor · x + (1 − factor) · grey); factor 0 is the greyscale
        private static void Saturate<T>(Scratch s, float factor) where T : struct, ISimd<T>
        {
            T f = T.Create(factor), g = T.Create(1 - factor);
            float* red = s.Plane(0), green = s.Plane(1), blue = s.Plane(2);
            int pixels = s.Pixels;
            for (int i = 0; i < pixels; i += T.Width)
            {
                T rest = T.Mul(g, Grey<T>(red + i, green + i, blue + i));
                T.Store(red + i, Clamp(T.Fma(f, T.Load(red + i), rest)));
                T.Store(green + i, Clamp(T.Fma(f, T.Load(green + i), rest)));
                T.Store(blue + i, Clamp(T.Fma(f, T.Load(blue + i), rest)));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static T Grey<T>(float* red, float* green, float* blue) where T : struct, ISimd<T> =>
            T.Fma(T.Create(RedWeight), T.Load(red), T.Fma(T.Create(GreenWeight), T.Load(green), T.Mul(T.Create(BlueWeight), T.Load(blue))));

        // The hue of HSV turned; value v = max and chroma c = max − min stay. With h the hue in sixths of the circle,
        // channel n is v − c · clamp(min(k, 4 − k), 0, 1), k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue.
        private static void TurnHue<T>(Scratch s, float turns) where T : struct, ISimd<T>
        {
            float* red = s.Plane(0), green = s.Plane(1), blue = s.Plane(2);
            int pixels = s.Pixels;
            T two = T.Create(2), four = T.Create(4), tiny = T.Create(1e-20f), shift = T.Create(6 * turns);
            for (int i = 0; i < pixels; i += T.Width)
            {
                T r = T.Load(red + i), g = T.Load(green + i), b = T.Load(blue + i);
                T v = T.Max(r, T.Max(g, b)), c = T.Sub(v, T.Min(r, T.Min(g, b)));
                // grey has no hue; its chroma of 0 makes any right
                T inverse = T.Div(T.Create(1), T.Max(c, tiny));
                T hue = T.SelectGreater(v, r,
                    T.SelectGreater(v, g, T.Fma(T.Sub(r, g), inverse, four), T.Fma(T.Sub(b, r), inverse, two)),
                    T.Mul(T.Sub(g, b), inverse));
                hue = T.Add(hue, shift);
                T.Store(red + i, Channel(hue, 5, v, c));
                T.Store(green + i, Channel(hue, 3, v, c));
                T.Store(blue + i, Channel(hue, 1, v, c));
            }

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            static T Channel(T hue, float n, T v, T c)
            {
                T k = T.Add(hue, T.Create(n));
                k = T.Sub(k, T.Mul(T.Create(6), T.Floor(T.Mul(k, T.Create(1f / 6)))));
                return T.Sub(v, T.Mul(c, Clamp(T.Min(k, T.Sub(T.Create(4), k)))));
            }
        }

        // Separable, the border reflected without repeating it (−1 → 1); across columns first.
        private static void Blur<T>(float sigma, int radius, Scratch s) where T : struct, ISimd<T>
        {
            if (radius < 1) return;
            int taps = 2 * radius + 1, height = s.OutHeight, width = s.OutWidth;
            float* weights = stackalloc float[taps];
            float total = 0;
            for (int k = 0; k < taps; k++)
            {
                float distance = (k - radius) / sigma;
                total += weights[k] = MathF.Exp(-0.5f * distance * distance);
            }
            for (int k = 0; k < taps; k++) weights[k] /= total;
            float* column = s.Columns;
            for (int c = 0; c < s.Channels; c++)
            {
                float* plane = s.Plane(c), spare = s.SparePlane(c);
                for (int x = 0; x < width; x++)
                    for (int y = 0; y < height; y += T.Width)
                    {
                        T sum = T.Zero;
                        for (int k = 0; k < taps; k++)
                            sum = T.Fma(T.Create(weights[k]), T.Load(plane + Reflect(x + k - radius, width) * height + y), sum);
                        T.Store(spare + x * height + y, sum);
                    }
                for (int x = 0; x < width; x++)
                {
                    new Span<float>(spare + x * height, height).CopyTo(new Span<float>(column + radius, height));
                    for (int k = 1; k <= radius; k++)
                    {
                        column[radius - k] = column[radius + k];
                        column[radius + height - 1 + k] = column[radius + height - 1 - k];
                    }
                    for (int y = 0; y < height; y += T.Width)
                        T.Store(plane + x * height + y, Taps<T>(column + y, 1, weights, taps));
                }
            }
        }

        private static int Reflect(int i, int size) => i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i;

        // x ← x ≥ threshold ? 1 − x : x
        private static void Solarize<T>(Scratch s, float threshold) where T : struct, ISimd<T>
        {
            T limit = T.Create(threshold), one = T.Create(1);
            for (int c = 0; c < s.Channels; c++)
            {
                float* plane = s.Plane(c);
                for (int i = 0; i < s.Pixels; i += T.Width)
                {
                    T x = T.Load(plane + i);
                    T.Store(plane + i, T.SelectGreater(limit, x, x, T.Sub(one, x)));
                }
            }
        }

        // x ← clamp(x + deviation · n). n is near to normal: the sum of four random bytes, centred and scaled to
        // variance 1; one Philox block serves four pixels. Element e = (channel · width + x) · height + y draws number
        // e mod 4 of block 1 + e/4.
        private static void AddNoise(Scratch s, float deviation, ViewCounter counter)
        {
            float scale = deviation / NoiseByteSumDeviation;
            uint* words = stackalloc uint[4];
            uint element = 0;
            for (int c = 0; c < s.Channels; c++)
            {
                float* plane = s.Plane(c);
                for (int i = 0; i < s.Pixels; i++, element++)
                {
                    if (element % 4 == 0)
                        (words[0], words[1], words[2], words[3]) = counter.Bits(DrawOp.Noise, 1 + element / 4);
                    uint word = words[element % 4], pairs = (word & 0x00ff00ff) + (word >> 8 & 0x00ff00ff);
                    int sum = (int)((pairs & 0xffff) + (pairs >> 16));
                    plane[i] = Math.Clamp(plane[i] + (sum - 510) * scale, 0f, 1f);
                }
            }
        }
    }

    /// <summary>Of the sum of four uniform bytes: √(4 · (256² − 1)/12).</summary>
    internal const float NoiseByteSumDeviation = 147.80054f;
}
