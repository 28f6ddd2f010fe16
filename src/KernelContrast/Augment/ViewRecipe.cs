namespace KernelContrast.Augment;

/// <summary>How an image is interpolated between its pixels.</summary>
public enum Interpolation
{
    /// <summary>Triangle of support 1.</summary>
    Bilinear,
    /// <summary>Keys' cubic with a = −0.5 and support 2, as in PIL and TensorFlow; clamped to [0, 1] after.</summary>
    Bicubic,
}

/// <summary>
/// What may happen to one view of an image, in this order: crop and resize, turn, shear and shift, flip, colour jitter,
/// greyscale, Gaussian blur, solarize, noise, normalise. A new recipe does nothing; see <see cref="AugmentPreset"/>.
/// </summary>
/// <remarks>Pixels are floats in [0, 1] until they are normalised. The exact arithmetic is in docs/design/augmentation.md.</remarks>
public sealed record ViewRecipe
{
    /// <summary>Rows of the view; 0: as the image.</summary>
    public int OutputHeight { get; init; }

    /// <summary>Columns of the view; 0: as the image.</summary>
    public int OutputWidth { get; init; }

    /// <summary>Least part of the image's area that is cropped, in (0, 1]. At 1 the image is not cropped.</summary>
    public float MinArea { get; init; } = 1;

    /// <summary>Greatest part of the image's area that is cropped.</summary>
    public float MaxArea { get; init; } = 1;

    /// <summary>Least width ÷ height of the crop; drawn uniformly in its logarithm.</summary>
    public float MinAspect { get; init; } = 3f / 4;

    /// <summary>Greatest width ÷ height of the crop.</summary>
    public float MaxAspect { get; init; } = 4f / 3;

    /// <summary>How the crop is resized. Turned or sheared views are bilinear.</summary>
    public Interpolation Interpolation { get; init; }

    /// <summary>
    /// Whether a crop larger than the view is low-passed (the kernel widened by the scale), as PIL does and torchvision
    /// by default. Without, as TensorFlow's resize by default.
    /// </summary>
    public bool Antialias { get; init; } = true;

    /// <summary>Turned by up to this, either way, in degrees. Outside the image is black.</summary>
    public float MaxRotation { get; init; }

    /// <summary>Sheared horizontally by up to this, either way: columns per row.</summary>
    public float MaxShear { get; init; }

    /// <summary>Shifted by up to this part of the image's width and height, either way.</summary>
    public float MaxTranslation { get; init; }

    /// <summary>Probability of a horizontal flip.</summary>
    public float FlipProbability { get; init; }

    /// <summary>Probability of the colour jitter: brightness, contrast, saturation and hue in random order.</summary>
    public float JitterProbability { get; init; }

    /// <summary>Brightness is multiplied by 1 ± this (never below 0).</summary>
    public float Brightness { get; init; }

    /// <summary>Contrast to the mean grey is multiplied by 1 ± this.</summary>
    public float Contrast { get; init; }

    /// <summary>Difference to grey is multiplied by 1 ± this. Nothing happens to grey images.</summary>
    public float Saturation { get; init; }

    /// <summary>Hue is turned by up to this part of the circle, either way; at most 0.5. Nothing happens to grey images.</summary>
    public float Hue { get; init; }

    /// <summary>Probability that colour is taken away.</summary>
    public float GreyscaleProbability { get; init; }

    /// <summary>Probability of the Gaussian blur.</summary>
    public float BlurProbability { get; init; }

    /// <summary>Least standard deviation of the blur, in pixels of the view.</summary>
    public float MinBlurSigma { get; init; } = 0.1f;

    /// <summary>Greatest standard deviation of the blur.</summary>
    public float MaxBlurSigma { get; init; } = 2;

    /// <summary>The blur's kernel has 2·radius + 1 pixels; 0: a tenth of the view's height, as SimCLR, but at least 3.</summary>
    public int BlurRadius { get; init; }

    /// <summary>Probability that pixels from <see cref="SolarizeThreshold"/> on are inverted.</summary>
    public float SolarizeProbability { get; init; }

    /// <summary>Pixels x from here on become 1 − x.</summary>
    public float SolarizeThreshold { get; init; } = 0.5f;

    /// <summary>Standard deviation of the noise added to every pixel: uniform between 0 and this.</summary>
    public float MaxNoise { get; init; }

    /// <summary>Subtracted per channel at the end; none when empty. One number counts for every channel, a grey image takes the average of three.</summary>
    public float[] Mean { get; init; } = [];

    /// <summary>Divided by per channel at the end; none when empty. One number counts for every channel, a grey image takes the average of three.</summary>
    public float[] StandardDeviation { get; init; } = [];

    /// <summary>Whether the view is turned, sheared or shifted, which takes one bilinear pass together with the crop.</summary>
    internal bool Warps => MaxRotation > 0 || MaxShear > 0 || MaxTranslation > 0;

    /// <summary>This recipe's normalisation only: what an evaluation feeds to the encoder.</summary>
    public ViewRecipe WithoutRandomness() => new()
    {
        OutputHeight = OutputHeight,
        OutputWidth = OutputWidth,
        Interpolation = Interpolation,
        Antialias = Antialias,
        Mean = Mean,
        StandardDeviation = StandardDeviation,
    };

    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    internal void Check()
    {
        That(OutputHeight is >= 0 and <= 16384 && OutputWidth is >= 0 and <= 16384,
            $"A view has at most 16384 × 16384 pixels, not {OutputHeight} × {OutputWidth}.");
        That(MinArea > 0 && MaxArea <= 1 && MinArea <= MaxArea,
            $"The crop's area is a range within (0, 1], not {MinArea} to {MaxArea}.");
        That(MinAspect > 0 && MinAspect <= MaxAspect && MaxAspect <= 100,
            $"The crop's aspect is a range within (0, 100], not {MinAspect} to {MaxAspect}.");
        That(MaxRotation is >= 0 and <= 180, $"The rotation is at most 0 to 180 degrees, not {MaxRotation}.");
        That(MaxShear is >= 0 and <= 2, $"The shear is at most 0 to 2, not {MaxShear}.");
        That(MaxTranslation is >= 0 and <= 1, $"The translation is at most 0 to 1 of the image's size, not {MaxTranslation}.");
        That(!Warps || Interpolation == Interpolation.Bilinear, "Turned, sheared or shifted views are bilinear. Choose bilinear interpolation.");
        Probability(FlipProbability, "flip");
        Probability(JitterProbability, "colour jitter");
        Probability(GreyscaleProbability, "greyscale");
        Probability(BlurProbability, "blur");
        Probability(SolarizeProbability, "solarize");
        That(Brightness is >= 0 and <= 10 && Contrast is >= 0 and <= 10 && Saturation is >= 0 and <= 10,
            $"Brightness, contrast and saturation are 0 to 10, not {Brightness}, {Contrast} and {Saturation}.");
        That(Hue is >= 0 and <= 0.5f, $"The hue is 0 to 0.5 of the circle, not {Hue}.");
        That(BlurProbability == 0 || (MinBlurSigma > 0 && MinBlurSigma <= MaxBlurSigma && MaxBlurSigma < 1000),
            $"The blur's standard deviation is a range above 0, not {MinBlurSigma} to {MaxBlurSigma}.");
        That(BlurRadius is >= 0 and <= 256, $"The blur's radius is 0 to 256, not {BlurRadius}.");
        That(SolarizeThreshold is >= 0 and <= 1, $"The solarize threshold is 0 to 1, not {SolarizeThreshold}.");
        That(MaxNoise is >= 0 and <= 1, $"The noise is 0 to 1, not {MaxNoise}.");
        That(Mean.Length == StandardDeviation.Length && Mean.Length is 0 or 1 or 3 && Mean.All(float.IsFinite)
            && StandardDeviation.All(s => s > 0 && float.IsFinite(s)),
            $"Mean and standard deviation are none, 1 or 3 numbers, the latter above 0, not [{string.Join(", ", Mean)}] and [{string.Join(", ", StandardDeviation)}].");

        static void Probability(float p, string name) => That(p is >= 0 and <= 1, $"The probability of {name} is 0 to 1, not {p}.");
        static void That(bool condition, string message)
        {
            if (!condition) throw new ArgumentException(message);
        }
    }
}
