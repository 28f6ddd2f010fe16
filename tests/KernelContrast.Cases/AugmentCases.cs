using KernelContrast.Augment;
using KernelContrast.Datasets;

namespace KernelContrast.Cases;

/// <summary>
/// Views of small images, by the recipes of the papers and by one with everything in it. Parameters are drawn as in
/// training; the reference applies them in double precision. Each as floats, and rounded to bfloat16.
/// </summary>
internal sealed class AugmentCases : ICaseSource
{
    private const int Count = 3;

    public IEnumerable<OpCase> Cases()
    {
        ViewRecipe everything = AugmentPreset.SimClr with { BlurProbability = 1, SolarizeProbability = 0.5f, MaxNoise = 0.1f, Mean = [0.5f], StandardDeviation = [0.25f] };
        foreach ((string name, ViewRecipe recipe) in new[]
        {
            ("simclr", AugmentPreset.SimClr), ("cifar", AugmentPreset.Cifar), ("moco-v2", AugmentPreset.MoCoV2), ("byol, second view", AugmentPreset.ByolSecond),
            ("digits", AugmentPreset.Digits), ("none", new ViewRecipe()), ("everything", everything),
            ("smaller", everything with { OutputHeight = 5, OutputWidth = 7, BlurRadius = 9 }),
            ("larger", everything with { OutputHeight = 19, OutputWidth = 22 }),
            ("aliased", new ViewRecipe { MinArea = 0.1f, Interpolation = Interpolation.Bicubic, Antialias = false, OutputHeight = 5, OutputWidth = 21, FlipProbability = 1 }),
        })
            foreach (DType type in new[] { DType.Float32, DType.BFloat16 })
            {
                yield return Case(name, recipe, 3, 11, 14, type);
                yield return Case(name, recipe, 1, 9, 6, type);
            }
    }

    private static OpCase Case(string name, ViewRecipe recipe, int channels, int height, int width, DType type)
    {
        bool half = type == DType.BFloat16;
        (int outHeight, int outWidth) = (recipe.OutputHeight > 0 ? recipe.OutputHeight : height, recipe.OutputWidth > 0 ? recipe.OutputWidth : width);
        var shape = new Shape(Count, channels, height, width);
        var random = new PhiloxStream(5, 81);
        double[] pixels = new double[shape.Count];
        for (int i = 0; i < pixels.Length; i++) pixels[i] = Math.Clamp(127 + (int)(140 * Math.Sin(0.4 * i)) + random.NextInt32(60) - 30, 0, 255);
        ViewParameters[] parameters =
        [
            .. Enumerable.Range(0, 2 * Count).Select(v =>
                ViewParameters.Draw(recipe, new ViewCounter(7, 3, (uint)(v % Count), (uint)(v / Count)), height, width, outHeight, outWidth)),
        ];
        double scale = recipe.StandardDeviation.Length > 0 ? 1 / recipe.StandardDeviation.Min() : 1;
        Func<double[][], double[]> reference = x =>
        [
            .. parameters.SelectMany((p, v) =>
            {
                int size = channels * height * width;
                byte[] image = [.. x[0].AsSpan(v % Count * size, size).ToArray().Select(b => (byte)b)];
                return AugmentReference.View(image, channels, height, width, recipe, p, outHeight, outWidth).SelectMany(c => c.SelectMany(r => r));
            }),
        ];
        return new OpCase
        {
            Op = "augment",
            Name = $"{name}, {channels}×{height}×{width}{(half ? ", bfloat16" : "")}",
            Kernels = half ? ["augment", "cast"] : ["augment"],
            Precision = half ? Precision.BFloat16 : Precision.Float32,
            Inputs = [new() { Shape = shape, Values = pixels, Type = DType.UInt8, Differentiable = false }],
            Run = t =>
            {
                var data = new MemoryDataset(t[0].ToArray<byte>(), null, channels, height, width);
                Tensor views = Tensor.Empty(new(2 * Count, channels, outHeight, outWidth), t[0].Device, type);
                AugmentOp.On(views.Device).Forward(views, ImageBatch.Of(data, 0, Count), [recipe, recipe], parameters);
                return views;
            },
            Reference = reference,
            Naive = half ? x => Array.ConvertAll(reference(x), BFloat16Cases.Rounded) : null,
            Forward = new(0, 0, 2e-5 * scale),
            CheckGradient = false,
        };
    }
}
