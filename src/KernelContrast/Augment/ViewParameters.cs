namespace KernelContrast.Augment;

/// <summary>What draws from the counters; the numbers are part of the counter scheme and never change.</summary>
internal enum DrawOp : uint
{
    Crop = 0,
    Affine = 1,
    Flip = 2,
    Jitter = 3,
    Greyscale = 4,
    Blur = 5,
    Solarize = 6,
    Noise = 7,
}

/// <summary>
/// The random numbers of one view of one image. Philox with key = seed and counter = (block, sample, epoch,
/// 0x41 ≪ 24 | view ≪ 8 | op): four numbers per block, none depending on any other draw.
/// </summary>
internal readonly record struct ViewCounter(ulong Seed, uint Epoch, uint Sample, uint View)
{
    // 'A' keeps the augmentations apart from every other use of the same seed.
    private const uint Domain = 0x41u << 24;

    internal (uint X, uint Y, uint Z, uint W) Bits(DrawOp op, uint block = 0) =>
        Philox.Block(block, Sample, Epoch, Word(op), (uint)Seed, (uint)(Seed >> 32));

    /// <summary>Counter word 3.</summary>
    internal uint Word(DrawOp op) => Domain | View << 8 | (uint)op;

    internal (float X, float Y, float Z, float W) Units(DrawOp op, uint block = 0)
    {
        var (x, y, z, w) = Bits(op, block);
        return (Philox.ToUnit(x), Philox.ToUnit(y), Philox.ToUnit(z), Philox.ToUnit(w));
    }
}

/// <summary>Everything random about one view of one image but the noise's pixels: a pure function of the counters.</summary>
internal struct ViewParameters
{
    /// <summary>The crop, in whole pixels of the image.</summary>
    internal int Left, Top, Width, Height;

    internal bool Flip;

    /// <summary>
    /// From the view to the image, both from their centres: image_x = Xx·u + Xy·v + X0, image_y = Yx·u + Yy·v + Y0, with
    /// u = x + ½ − width/2 and v = y + ½ − height/2 of the view; the crop's scale and the flip are in it.
    /// </summary>
    internal float Xx, Xy, X0, Yx, Yy, Y0;

    /// <summary>Which permutation of (brightness, contrast, saturation, hue), 0 to 23; −1: no jitter.</summary>
    internal int JitterOrder;

    internal float Brightness, Contrast, Saturation;

    /// <summary>In turns.</summary>
    internal float Hue;

    internal bool Greyscale;

    /// <summary>0: no blur.</summary>
    internal float BlurSigma;

    internal bool Solarize;

    /// <summary>Standard deviation; 0: no noise.</summary>
    internal float Noise;

    /// <summary>Where the noise's pixels are drawn from.</summary>
    internal ViewCounter Counter;

    private const int CropAttempts = 10;

    /// <summary>Draws the parameters of a view of <paramref name="outHeight"/> × <paramref name="outWidth"/> pixels.</summary>
    internal static ViewParameters Draw(ViewRecipe recipe, ViewCounter counter, int height, int width, int outHeight, int outWidth)
    {
        var p = new ViewParameters { Counter = counter, JitterOrder = -1 };
        p.DrawCrop(recipe, height, width);
        p.Flip = recipe.FlipProbability > 0 && counter.Units(DrawOp.Flip).X < recipe.FlipProbability;
        if (recipe.Warps) p.DrawAffine(recipe, height, width, outHeight, outWidth);
        if (recipe.JitterProbability > 0)
        {
            var (apply, order, _, _) = counter.Bits(DrawOp.Jitter);
            if (Philox.ToUnit(apply) < recipe.JitterProbability)
            {
                p.JitterOrder = (int)((ulong)order * 24 >> 32);
                var (b, c, s, h) = counter.Units(DrawOp.Jitter, 1);
                p.Brightness = Between(MathF.Max(0, 1 - recipe.Brightness), 1 + recipe.Brightness, b);
                p.Contrast = Between(MathF.Max(0, 1 - recipe.Contrast), 1 + recipe.Contrast, c);
                p.Saturation = Between(MathF.Max(0, 1 - recipe.Saturation), 1 + recipe.Saturation, s);
                p.Hue = Between(-recipe.Hue, recipe.Hue, h);
            }
        }
        p.Greyscale = recipe.GreyscaleProbability > 0 && counter.Units(DrawOp.Greyscale).X < recipe.GreyscaleProbability;
        if (recipe.BlurProbability > 0)
        {
            var (apply, sigma, _, _) = counter.Units(DrawOp.Blur);
            if (apply < recipe.BlurProbability) p.BlurSigma = Between(recipe.MinBlurSigma, recipe.MaxBlurSigma, sigma);
        }
        p.Solarize = recipe.SolarizeProbability > 0 && counter.Units(DrawOp.Solarize).X < recipe.SolarizeProbability;
        if (recipe.MaxNoise > 0) p.Noise = recipe.MaxNoise * counter.Units(DrawOp.Noise).X;
        return p;
    }

    // As torchvision's RandomResizedCrop: area uniform, aspect log-uniform, whole pixels, ten attempts, then the
    // largest crop in the middle whose aspect is allowed. Attempt a draws block a.
    private void DrawCrop(ViewRecipe recipe, int height, int width)
    {
        (Left, Top, Width, Height) = (0, 0, width, height);
        if (recipe.MinArea >= 1) return;
        float logMin = MathF.Log(recipe.MinAspect), logMax = MathF.Log(recipe.MaxAspect);
        for (uint attempt = 0; attempt < CropAttempts; attempt++)
        {
            var (area, aspect, top, left) = Counter.Units(DrawOp.Crop, attempt);
            float pixels = Between(recipe.MinArea, recipe.MaxArea, area) * height * width;
            float ratio = MathF.Exp(Between(logMin, logMax, aspect));
            int w = (int)MathF.Round(MathF.Sqrt(pixels * ratio)), h = (int)MathF.Round(MathF.Sqrt(pixels / ratio));
            if (w < 1 || h < 1 || w > width || h > height) continue;
            // units are below 1 by at least 2⁻²⁴, so the products stay below their bounds for sizes under 2²³
            (Left, Top, Width, Height) = ((int)(left * (width - w + 1)), (int)(top * (height - h + 1)), w, h);
            return;
        }
        float whole = (float)width / height;
        if (whole < recipe.MinAspect) Height = Math.Clamp((int)MathF.Round(width / recipe.MinAspect), 1, height);
        else if (whole > recipe.MaxAspect) Width = Math.Clamp((int)MathF.Round(height * recipe.MaxAspect), 1, width);
        (Left, Top) = ((width - Width) / 2, (height - Height) / 2);
    }

    // image = middle of the crop + shift + R(angle) · S(shear) · scale · flip · (u, v). R turns what is seen
    // counter-clockwise by the angle (rows count downwards).
    private void DrawAffine(ViewRecipe recipe, int height, int width, int outHeight, int outWidth)
    {
        var (turn, shear, right, down) = Counter.Units(DrawOp.Affine);
        float angle = Between(-recipe.MaxRotation, recipe.MaxRotation, turn) * (MathF.PI / 180);
        float slant = Between(-recipe.MaxShear, recipe.MaxShear, shear);
        float cos = MathF.Cos(angle), sin = MathF.Sin(angle);
        float scaleX = (float)Width / outWidth * (Flip ? -1 : 1), scaleY = (float)Height / outHeight;
        (Xx, Xy) = (cos * scaleX, (cos * slant - sin) * scaleY);
        (Yx, Yy) = (sin * scaleX, (sin * slant + cos) * scaleY);
        X0 = Left + Width * 0.5f - Between(-recipe.MaxTranslation, recipe.MaxTranslation, right) * width;
        Y0 = Top + Height * 0.5f - Between(-recipe.MaxTranslation, recipe.MaxTranslation, down) * height;
    }

    private static float Between(float low, float high, float unit) => low + (high - low) * unit;
}
