using KernelContrast.Augment;

namespace KernelContrast.Cases;

/// <summary>The augmentations in double precision, each written from its definition, without regard for speed.</summary>
internal static class AugmentReference
{
    /// <summary>[channel][y][x]</summary>
    internal static double[][][] View(byte[] image, int channels, int height, int width, ViewRecipe recipe, ViewParameters p, int outHeight, int outWidth)
    {
        double[][][] source = Make(channels, height, width, (c, y, x) => image[(c * height + y) * width + x] / 255.0);
        double[][][] view = recipe.Warps ? Warp(source, p, outHeight, outWidth) : Resize(source, recipe, p, outHeight, outWidth);
        if (p.JitterOrder >= 0)
        {
            var order = new int[4];
            AugmentOp.JitterOrder(p.JitterOrder, order);
            foreach (int operation in order)
                view = operation switch
                {
                    0 => Brightness(view, recipe.Brightness > 0 ? p.Brightness : 1),
                    1 => Contrast(view, recipe.Contrast > 0 ? p.Contrast : 1),
                    2 => Saturation(view, recipe.Saturation > 0 ? p.Saturation : 1),
                    _ => Hue(view, recipe.Hue > 0 ? p.Hue : 0),
                };
        }
        if (p.Greyscale) view = Greyscale(view);
        if (p.BlurSigma > 0) view = Blur(view, p.BlurSigma, AugmentOp.BlurRadius(recipe, outHeight, outWidth));
        if (p.Solarize) view = Map(view, v => v >= recipe.SolarizeThreshold ? 1 - v : v);
        if (p.Noise > 0) view = Noise(view, p);
        if (recipe.Mean.Length > 0)
            view = Make(channels, outHeight, outWidth, (c, y, x) => recipe.Mean.Length == channels
                ? (view[c][y][x] - recipe.Mean[c]) / recipe.StandardDeviation[c]
                : (view[c][y][x] - recipe.Mean.Average()) / recipe.StandardDeviation.Average());
        return view;
    }

    internal static double[][][] Make(int channels, int height, int width, Func<int, int, int, double> value) =>
        [.. Enumerable.Range(0, channels).Select(c => Enumerable.Range(0, height).Select(y =>
            Enumerable.Range(0, width).Select(x => value(c, y, x)).ToArray()).ToArray())];

    private static double[][][] Map(double[][][] image, Func<double, double> f) =>
        Make(image.Length, image[0].Length, image[0][0].Length, (c, y, x) => f(image[c][y][x]));

    private static double Clamp(double value) => Math.Clamp(value, 0, 1);

    internal static double[][][] Resize(double[][][] source, ViewRecipe recipe, ViewParameters p, int outHeight, int outWidth)
    {
        double[][] rows = Weights(p.Height, outHeight, recipe), columns = Weights(p.Width, outWidth, recipe);
        return Make(source.Length, outHeight, outWidth, (c, y, x) =>
        {
            double sum = 0;
            double[] wy = rows[y], wx = columns[p.Flip ? outWidth - 1 - x : x];
            for (int i = 0; i < p.Height; i++)
                for (int j = 0; j < p.Width; j++) sum += wy[i] * wx[j] * source[c][p.Top + i][p.Left + j];
            return Clamp(sum);
        });
    }

    // For every output the weight of every input.
    private static double[][] Weights(int input, int output, ViewRecipe recipe)
    {
        double scale = (double)input / output, widen = recipe.Antialias ? Math.Max(1, scale) : 1;
        var all = new double[output][];
        for (int i = 0; i < output; i++)
        {
            all[i] = new double[input];
            // far enough outside for every tap
            for (int j = -5 - (int)(3 * widen); j < input + 5 + (int)(3 * widen); j++)
            {
                double weight = Kernel((j + 0.5 - (i + 0.5) * scale) / widen);
                bool inside = j >= 0 && j < input;
                if (inside) all[i][j] += weight;
                else if (!recipe.Antialias) all[i][j < 0 ? 0 : input - 1] += weight;
            }
            double sum = all[i].Sum();
            for (int j = 0; j < input; j++) all[i][j] /= sum;
        }
        return all;

        double Kernel(double x)
        {
            x = Math.Abs(x);
            if (recipe.Interpolation == Interpolation.Bilinear) return Math.Max(0, 1 - x);
            const double a = -0.5; // Keys 1981
            return x <= 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1
                : x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
        }
    }

    private static double[][][] Warp(double[][][] source, ViewParameters p, int outHeight, int outWidth)
    {
        int height = source[0].Length, width = source[0][0].Length;
        return Make(source.Length, outHeight, outWidth, (c, y, x) =>
        {
            double u = x + 0.5 - outWidth / 2.0, v = y + 0.5 - outHeight / 2.0;
            double sx = p.Xx * u + p.Xy * v + p.X0 - 0.5, sy = p.Yx * u + p.Yy * v + p.Y0 - 0.5, sum = 0;
            for (int i = 0; i < height; i++)
                for (int j = 0; j < width; j++)
                    sum += Math.Max(0, 1 - Math.Abs(sy - i)) * Math.Max(0, 1 - Math.Abs(sx - j)) * source[c][i][j];
            return sum;
        });
    }

    internal static double[][][] Brightness(double[][][] image, double factor) => Map(image, v => Clamp(v * factor));

    internal static double Grey(double[][][] image, int y, int x) => image.Length == 1 ? image[0][y][x]
        : 0.2989 * image[0][y][x] + 0.587 * image[1][y][x] + 0.114 * image[2][y][x];

    internal static double[][][] Contrast(double[][][] image, double factor)
    {
        double sum = 0;
        for (int y = 0; y < image[0].Length; y++)
            for (int x = 0; x < image[0][0].Length; x++) sum += Grey(image, y, x);
        double mean = sum / (image[0].Length * image[0][0].Length);
        return Map(image, v => Clamp(factor * v + (1 - factor) * mean));
    }

    internal static double[][][] Saturation(double[][][] image, double factor) => image.Length == 1 ? image
        : Make(3, image[0].Length, image[0][0].Length, (c, y, x) => Clamp(factor * image[c][y][x] + (1 - factor) * Grey(image, y, x)));

    internal static double[][][] Greyscale(double[][][] image) => image.Length == 1 ? image
        : Make(3, image[0].Length, image[0][0].Length, (_, y, x) => Grey(image, y, x));

    // To HSV, hue turned, and back, by the six sectors.
    internal static double[][][] Hue(double[][][] image, double turns)
    {
        if (image.Length == 1) return image;
        return Make(3, image[0].Length, image[0][0].Length, (channel, y, x) =>
        {
            double r = image[0][y][x], g = image[1][y][x], b = image[2][y][x];
            double max = Math.Max(r, Math.Max(g, b)), min = Math.Min(r, Math.Min(g, b));
            double s = max == 0 ? 0 : (max - min) / max, h = 0;
            if (max > min)
                h = (max == r ? (g - b) / (max - min) : max == g ? 2 + (b - r) / (max - min) : 4 + (r - g) / (max - min)) / 6;
            h = (h + turns) % 1;
            if (h < 0) h += 1;
            int sector = (int)(h * 6) % 6;
            double f = h * 6 - Math.Floor(h * 6), low = max * (1 - s), falling = max * (1 - s * f), rising = max * (1 - s * (1 - f));
            (double R, double G, double B) rgb = sector switch
            {
                0 => (max, rising, low),
                1 => (falling, max, low),
                2 => (low, max, rising),
                3 => (low, falling, max),
                4 => (rising, low, max),
                _ => (max, low, falling),
            };
            return channel == 0 ? rgb.R : channel == 1 ? rgb.G : rgb.B;
        });
    }

    internal static double[][][] Blur(double[][][] image, double sigma, int radius)
    {
        int height = image[0].Length, width = image[0][0].Length;
        double total = 0;
        for (int i = -radius; i <= radius; i++)
            for (int j = -radius; j <= radius; j++) total += Math.Exp(-(i * i + j * j) / (2 * sigma * sigma));
        return Make(image.Length, height, width, (c, y, x) =>
        {
            double sum = 0;
            for (int i = -radius; i <= radius; i++)
                for (int j = -radius; j <= radius; j++)
                    sum += Math.Exp(-(i * i + j * j) / (2 * sigma * sigma)) * image[c][Mirror(y + i, height)][Mirror(x + j, width)];
            return sum / total;
        });

        static int Mirror(int i, int size) => i < 0 ? -i : i >= size ? 2 * size - 2 - i : i;
    }

    private static double[][][] Noise(double[][][] image, ViewParameters p)
    {
        int height = image[0].Length, width = image[0][0].Length;
        return Make(image.Length, height, width, (c, y, x) =>
        {
            uint element = (uint)((c * width + x) * height + y);
            var (a, b, d, e) = p.Counter.Bits(DrawOp.Noise, 1 + element / 4);
            uint word = new[] { a, b, d, e }[element % 4];
            double sum = (word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24);
            return Clamp(image[c][y][x] + p.Noise * (sum - 4 * 127.5) / Math.Sqrt(4 * (256.0 * 256 - 1) / 12));
        });
    }
}
