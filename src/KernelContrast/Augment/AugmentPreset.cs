namespace KernelContrast.Augment;

/// <summary>The recipes of the papers, two views each.</summary>
/// <remarks>
/// Where a paper's text and its code differ, the remark of the preset says which is followed. In all of them brightness
/// is a factor, not an offset, and jitter comes in random order, as torchvision's ColorJitter and SimCLR's paper have it.
/// </remarks>
public static class AugmentPreset
{
    /// <summary>The names <see cref="Get"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["simclr", "moco-v2", "byol", "cifar", "digits", "none"];

    private static readonly float[] ImageNetMean = [0.485f, 0.456f, 0.406f], ImageNetDeviation = [0.229f, 0.224f, 0.225f];

    /// <summary>
    /// SimCLR on ImageNet. Chen et al. 2020, appendix A: crop area 0.08–1, aspect 3/4–4/3, flip 0.5; jitter of
    /// strength 1 (0.8, 0.8, 0.8, 0.2) with probability 0.8, greyscale 0.2; blur with probability 0.5, σ 0.1–2, kernel a
    /// tenth of the height. Bicubic as in google-research/simclr's code. Not normalised, as there.
    /// </summary>
    public static ViewRecipe SimClr { get; } = new()
    {
        MinArea = 0.08f,
        Interpolation = Interpolation.Bicubic,
        FlipProbability = 0.5f,
        JitterProbability = 0.8f,
        Brightness = 0.8f,
        Contrast = 0.8f,
        Saturation = 0.8f,
        Hue = 0.2f,
        GreyscaleProbability = 0.2f,
        BlurProbability = 0.5f,
    };

    /// <summary>SimCLR on CIFAR. Chen et al. 2020, appendix B.9: as <see cref="SimClr"/>, but jitter of strength 0.5 and no blur.</summary>
    public static ViewRecipe Cifar { get; } = SimClr with
    {
        Brightness = 0.4f,
        Contrast = 0.4f,
        Saturation = 0.4f,
        Hue = 0.1f,
        BlurProbability = 0,
    };

    /// <summary>
    /// MoCo v2. facebookresearch/moco's main_moco.py: crop area 0.2–1 (torchvision's aspect 3/4–4/3, bilinear), jitter
    /// (0.4, 0.4, 0.4, 0.1) with probability 0.8, greyscale 0.2, blur with probability 0.5 and σ 0.1–2, flip 0.5,
    /// ImageNet's mean and deviation. PIL's blur there is of boxes and not cut off; here it is Gaussian, cut at a tenth
    /// of the height.
    /// </summary>
    public static ViewRecipe MoCoV2 { get; } = new()
    {
        MinArea = 0.2f,
        FlipProbability = 0.5f,
        JitterProbability = 0.8f,
        Brightness = 0.4f,
        Contrast = 0.4f,
        Saturation = 0.4f,
        Hue = 0.1f,
        GreyscaleProbability = 0.2f,
        BlurProbability = 0.5f,
        Mean = ImageNetMean,
        StandardDeviation = ImageNetDeviation,
    };

    /// <summary>
    /// BYOL's first view. Grill et al. 2020, table 6: crop area 0.08–1 bicubic, flip 0.5, jitter (0.4, 0.4, 0.2, 0.1)
    /// with probability 0.8, greyscale 0.2, always blurred (σ 0.1–2, 23 pixels at 224), never solarized.
    /// </summary>
    public static ViewRecipe ByolFirst { get; } = new()
    {
        MinArea = 0.08f,
        Interpolation = Interpolation.Bicubic,
        FlipProbability = 0.5f,
        JitterProbability = 0.8f,
        Brightness = 0.4f,
        Contrast = 0.4f,
        Saturation = 0.2f,
        Hue = 0.1f,
        GreyscaleProbability = 0.2f,
        BlurProbability = 1,
        Mean = ImageNetMean,
        StandardDeviation = ImageNetDeviation,
    };

    /// <summary>BYOL's second view (table 6): as the first, but blurred with probability 0.1 and solarized with 0.2.</summary>
    public static ViewRecipe ByolSecond { get; } = ByolFirst with { BlurProbability = 0.1f, SolarizeProbability = 0.2f };

    /// <summary>
    /// For handwritten digits (our own): crop area 0.25–1, turned by up to 25°, sheared by up to 0.2, brightness and
    /// contrast ±0.4, blur with probability 0.5, noise up to 0.05. No flip: a flipped 2 is no 2.
    /// </summary>
    public static ViewRecipe Digits { get; } = new()
    {
        MinArea = 0.25f,
        MaxRotation = 25,
        MaxShear = 0.2f,
        JitterProbability = 1,
        Brightness = 0.4f,
        Contrast = 0.4f,
        BlurProbability = 0.5f,
        MaxBlurSigma = 1,
        BlurRadius = 2,
        MaxNoise = 0.05f,
    };

    /// <summary>The two views' recipes of a preset.</summary>
    /// <exception cref="ArgumentException">There is no such preset.</exception>
    public static (ViewRecipe First, ViewRecipe Second) Get(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name switch
        {
            "simclr" => (SimClr, SimClr),
            "moco-v2" => (MoCoV2, MoCoV2),
            "byol" => (ByolFirst, ByolSecond),
            "cifar" => (Cifar, Cifar),
            "digits" => (Digits, Digits),
            "none" => (new ViewRecipe(), new ViewRecipe()),
            _ => throw new ArgumentException($"There is no augmentation preset '{name}'. Choose one of {string.Join(", ", Names)}."),
        };
    }
}
