using KernelContrast.Augment;
using KernelContrast.Datasets;
using SkiaSharp;

namespace KernelContrast.Cli.Plots;

/// <summary>Images of a data set, each above the two views an encoder is shown of it.</summary>
internal static class ViewSheet
{
    private const int Cell = 84, Gap = 6, Margin = 14, RowNames = 78, Head = 44, PerBand = 10, BandGap = 18;

    /// <summary>Draws and writes the sheet.</summary>
    /// <param name="path">The PNG.</param>
    /// <param name="data">The images.</param>
    /// <param name="indices">Which of them, at least one.</param>
    /// <param name="recipes">How each of the two views is made; their normalisation is left out, or there would be nothing to see.</param>
    /// <param name="seed">The views' random numbers.</param>
    /// <param name="title">Above the sheet.</param>
    /// <param name="device">Where the views are made; the CPU when null.</param>
    internal static void Save(string path, IImageDataset data, IReadOnlyList<int> indices, (ViewRecipe First, ViewRecipe Second) recipes, ulong seed, string title, Device? device = null)
    {
        using Picture picture = Draw(data, indices, recipes, seed, title, device);
        picture.Save(path);
    }

    internal static Picture Draw(IImageDataset data, IReadOnlyList<int> indices, (ViewRecipe First, ViewRecipe Second) recipes, ulong seed, string title, Device? device = null)
    {
        if (indices.Count == 0) throw new ArgumentException("There is nothing to draw: no image was chosen.");
        int columns = Math.Min(PerBand, indices.Count), bands = (indices.Count + PerBand - 1) / PerBand;
        int band = 3 * (Cell + Gap) + BandGap;
        var picture = new Picture(2 * Margin + RowNames + columns * (Cell + Gap) - Gap, Head + bands * band - BandGap - Gap + Margin);
        picture.Text(title, Margin, 29, 17, semibold: true);
        var pipeline = new Pipeline(Seen(recipes.First), Seen(recipes.Second), seed);
        var batch = new ImageBatch(data, indices.Count).Fill(data, [.. indices]);
        using var scope = new TensorScope();
        Tensor[] rows = [Pipeline.Plain(batch, device: device), pipeline.View(batch, 0, 0, device), pipeline.View(batch, 0, 1, device)];
        string[] names = ["original", "view 1", "view 2"];
        for (int row = 0; row < rows.Length; row++)
        {
            float[] pixels = rows[row].ToArray();
            for (int i = 0; i < indices.Count; i++)
            {
                int left = Margin + RowNames + i % PerBand * (Cell + Gap), top = Head + i / PerBand * band + row * (Cell + Gap);
                if (i % PerBand == 0) picture.Text(names[row], Margin, top + Cell / 2f + 5, 15, color: Picture.Faint);
                Image(picture, pixels, i, rows[row].Shape, left, top);
            }
        }
        return picture;
    }

    private static ViewRecipe Seen(ViewRecipe recipe) => recipe with { Mean = [], StandardDeviation = [] };

    private static void Image(Picture picture, float[] pixels, int index, Shape shape, int left, int top)
    {
        int channels = shape[1], height = shape[2], width = shape[3], plane = height * width;
        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        for (int i = 0; i < plane; i++)
            bitmap.SetPixel(i % width, i / width, new SKColor(Channel(0, i), Channel(channels == 3 ? 1 : 0, i), Channel(channels == 3 ? 2 : 0, i)));
        // Pixels of a small image stay visible as squares; a large one is averaged down.
        float scale = Math.Min((float)Cell / width, (float)Cell / height);
        if (scale > 1) scale = MathF.Floor(scale);
        var sampling = scale >= 1 ? new SKSamplingOptions(SKFilterMode.Nearest) : new SKSamplingOptions(SKFilterMode.Linear, SKMipmapMode.Linear);
        float w = width * scale, h = height * scale;
        var place = SKRect.Create(left + MathF.Floor((Cell - w) / 2), top + MathF.Floor((Cell - h) / 2), w, h);
        using SKImage image = SKImage.FromBitmap(bitmap);
        picture.Canvas.DrawImage(image, place, sampling);

        byte Channel(int c, int i) => (byte)(255 * Math.Clamp(pixels[(index * channels + c) * plane + i], 0, 1) + 0.5f);
    }
}
