using KernelContrast.Datasets;

namespace KernelContrast.Augment;

/// <summary>
/// Makes views of images. What comes out for an image is a pure function of (seed, epoch, the image's index in its data
/// set, view, recipe): the same for any batch it comes in, and any number of threads.
/// </summary>
public sealed class Pipeline
{
    private readonly ViewRecipe[] _recipes;
    private readonly ulong _seed;

    /// <summary>A pipeline of two views.</summary>
    /// <exception cref="ArgumentException">A recipe's value is out of its range, or the views' sizes differ.</exception>
    public Pipeline(ViewRecipe first, ViewRecipe second, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        first.Check();
        second.Check();
        if ((first.OutputHeight, first.OutputWidth) != (second.OutputHeight, second.OutputWidth))
            throw new ArgumentException($"Both views have one size, but the recipes say {first.OutputHeight}×{first.OutputWidth} and {second.OutputHeight}×{second.OutputWidth}.");
        _recipes = [first, second];
        _seed = seed;
    }

    /// <summary>A pipeline of a preset's two views; see <see cref="AugmentPreset"/>.</summary>
    public Pipeline(string preset, ulong seed) : this(AugmentPreset.Get(preset ?? throw new ArgumentNullException(nameof(preset))).First, AugmentPreset.Get(preset).Second, seed) { }

    /// <summary>View 0 or 1 of every image of the batch, [N, C, H, W].</summary>
    /// <param name="batch">The images.</param>
    /// <param name="epoch">The epoch, which every image's random numbers depend on.</param>
    /// <param name="view">0 or 1.</param>
    /// <param name="device">Where the views are wanted; the CPU when null.</param>
    /// <param name="type">Float32, or bfloat16: the float32 views, each number rounded to nearest, ties to even.</param>
    /// <exception cref="ArgumentException">The batch's images are on another device, or too large for the recipe; the type is neither.</exception>
    public Tensor View(ImageBatch batch, int epoch, int view, Device? device = null, DType type = DType.Float32)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(epoch);
        if (view is not (0 or 1)) throw new ArgumentOutOfRangeException(nameof(view), view, "There are views 0 and 1.");
        return Make(batch, epoch, [view], device, type);
    }

    /// <summary>
    /// Both views of every image, [2N, C, H, W]: rows 0 … N−1 are the first views, rows N … 2N−1 the second, so row i
    /// and row i + N are a pair (layout <c>halves</c>).
    /// </summary>
    /// <param name="batch">The images.</param>
    /// <param name="epoch">The epoch, which every image's random numbers depend on.</param>
    /// <param name="device">Where the views are wanted; the CPU when null.</param>
    /// <param name="type">Float32, or bfloat16: the float32 views, each number rounded to nearest, ties to even.</param>
    /// <exception cref="ArgumentException">The batch's images are on another device, or too large for the recipe; the type is neither.</exception>
    public Tensor TwoViews(ImageBatch batch, int epoch, Device? device = null, DType type = DType.Float32)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(epoch);
        return Make(batch, epoch, [0, 1], device, type);
    }

    /// <summary>The images as they are, resized and normalised as the first recipe says, [N, C, H, W]: for evaluation.</summary>
    public Tensor Plain(ImageBatch batch, Device? device = null) => Plain(batch, _recipes[0], device);

    /// <summary>The images as they are, resized and normalised as <paramref name="recipe"/> says, [N, C, H, W].</summary>
    public static Tensor Plain(ImageBatch batch, ViewRecipe? recipe = null, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(batch);
        recipe = (recipe ?? new ViewRecipe()).WithoutRandomness();
        return new Pipeline(recipe, recipe, seed: 0).Make(batch, 0, [0], device, DType.Float32);
    }

    /// <summary>What one view of one image draws.</summary>
    internal ViewParameters Parameters(IImageDataset data, int epoch, int sample, int view)
    {
        (int height, int width) = OutputSize(data.Height, data.Width);
        return ViewParameters.Draw(_recipes[view], new ViewCounter(_seed, (uint)epoch, (uint)sample, (uint)view), data.Height, data.Width, height, width);
    }

    private (int Height, int Width) OutputSize(int height, int width) =>
        (_recipes[0].OutputHeight > 0 ? _recipes[0].OutputHeight : height, _recipes[0].OutputWidth > 0 ? _recipes[0].OutputWidth : width);

    private Tensor Make(ImageBatch batch, int epoch, ReadOnlySpan<int> wanted, Device? device, DType type)
    {
        if (!type.IsFloat()) throw new ArgumentException($"Views hold Float32 or BFloat16, not {type}.");
        if (batch.Count == 0) throw new ArgumentException("The batch has no images.");
        if (batch.Unread is not null) throw new InvalidOperationException("The batch says which images it has, but did not read them: fill another one from it.");
        (int height, int width) = OutputSize(batch.Height, batch.Width);
        if (Math.Max(batch.Height, batch.Width) > 4000 && _recipes.Any(r => r.Warps))
            throw new ArgumentException($"Images to turn, shear or shift have at most 4000 × 4000 pixels, not {batch.Height} × {batch.Width}. Resize them first.");
        device ??= Device.Cpu;
        if (batch.Resident is { } resident && resident.Device != device)
            throw new ArgumentException($"The batch's images are on {resident.Device}, so its views are made there, not on {device}.");
        Tensor views = Tensor.Empty(new Shape(wanted.Length * batch.Count, batch.Channels, height, width), device, type);
        var parameters = new ViewParameters[wanted.Length * batch.Count];
        var recipes = new ViewRecipe[wanted.Length];
        for (int v = 0; v < wanted.Length; v++)
        {
            recipes[v] = _recipes[wanted[v]];
            for (int i = 0; i < batch.Count; i++)
                parameters[v * batch.Count + i] = ViewParameters.Draw(recipes[v], new ViewCounter(_seed, (uint)epoch, (uint)batch.Indices[i], (uint)wanted[v]),
                    batch.Height, batch.Width, height, width);
        }
        AugmentOp.On(views.Device).Forward(views, batch, recipes, parameters);
        return views;
    }
}
