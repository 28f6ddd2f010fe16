using ScottPlot;
using SkiaSharp;

namespace KernelContrast.Cli.Plots;

/// <summary>A bitmap to draw on, with the look that all pictures share, written as PNG.</summary>
internal sealed class Picture : IDisposable
{
    internal static readonly SKColor Ink = new(0x26, 0x2B, 0x33), Faint = new(0x6B, 0x74, 0x80), Panel = new(0xF6, 0xF7, 0xF9);

    private readonly SKSurface _surface;

    internal Picture(int width, int height)
    {
        _surface = SKSurface.Create(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Premul))
            ?? throw new InvalidOperationException($"A picture of {width}×{height} pixels could not be made.");
        Canvas.Clear(SKColors.White);
    }

    internal SKCanvas Canvas => _surface.Canvas;

    /// <summary>Text whose baseline is at y.</summary>
    internal void Text(string text, float x, float y, float size, SKTextAlign align = SKTextAlign.Left, SKColor? color = null, bool semibold = false)
    {
        using var font = new SKFont(semibold ? PlotFont.Semibold : PlotFont.Regular, size) { Edging = SKFontEdging.Antialias };
        using var paint = new SKPaint { Color = color ?? Ink, IsAntialias = true };
        Canvas.DrawText(text, x, y, align, font, paint);
    }

    /// <summary>A plot in its place. It clears what is below it, so it is kept inside.</summary>
    internal void Plot(Plot plot, int left, int top, int width, int height)
    {
        Canvas.Save();
        Canvas.ClipRect(SKRect.Create(left, top, width, height));
        plot.Render(Canvas, new PixelRect(left, left + width, top + height, top));
        Canvas.Restore();
    }

    internal static float WidthOf(string text, float size)
    {
        using var font = new SKFont(PlotFont.Regular, size);
        return font.MeasureText(text);
    }

    /// <summary>Whole or not at all, through a temporary file.</summary>
    internal void Save(string path)
    {
        byte[] png = Encode();
        AtomicFile.Write(path, stream => stream.Write(png));
    }

    internal byte[] Encode()
    {
        using SKImage image = _surface.Snapshot();
        using SKPixmap pixels = image.PeekPixels() ?? throw new InvalidOperationException("The picture has no pixels.");
        if (PalettePng.TryEncode(pixels.GetPixelSpan(), pixels.Width, pixels.Height) is { } small) return small;
        using SKData full = pixels.Encode(new SKPngEncoderOptions(SKPngEncoderFilterFlags.AllFilters, 9))
            ?? throw new InvalidOperationException("The picture could not be encoded as PNG.");
        return full.ToArray();
    }

    public void Dispose() => _surface.Dispose();
}
