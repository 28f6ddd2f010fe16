using ScottPlot;
using SkiaSharp;

namespace KernelContrast.Cli.Plots;

/// <summary>
/// The font of every picture, carried in the tool: on a machine without fonts Skia draws no text at all and says nothing.
/// </summary>
internal static class PlotFont
{
    internal const string Name = "Open Sans";

    private static readonly Lazy<SKTypeface> s_regular = new(() => Load("OpenSans-Regular.ttf"));
    private static readonly Lazy<SKTypeface> s_semibold = new(() => Load("OpenSans-Semibold.ttf"));
    private static readonly Lazy<bool> s_registered = new(Register);

    internal static SKTypeface Regular => s_regular.Value;

    internal static SKTypeface Semibold => s_semibold.Value;

    /// <summary>A plot whose texts are all in this font.</summary>
    internal static Plot NewPlot()
    {
        _ = s_registered.Value;
        var plot = new Plot();
        plot.Font.Set(Name);
        return plot;
    }

    private static bool Register()
    {
        Fonts.FontResolvers.Insert(0, new Resolver());
        Fonts.Default = Name;
        return true;
    }

    private static SKTypeface Load(string file)
    {
        using Stream stream = typeof(PlotFont).Assembly.GetManifestResourceStream(file)
            ?? throw new InvalidOperationException($"The tool was built without its font {file}.");
        return SKTypeface.FromStream(stream) ?? throw new InvalidOperationException($"{file} is no font that can be read.");
    }

    private sealed class Resolver : IFontResolver
    {
        public SKTypeface? CreateTypeface(string fontName, FontWeight weight, FontSlant slant, FontSpacing spacing) =>
            fontName == Name ? Load(weight >= FontWeight.SemiBold ? "OpenSans-Semibold.ttf" : "OpenSans-Regular.ttf") : null;

        public SKTypeface? CreateTypeface(string fontName, bool bold, bool italic) =>
            CreateTypeface(fontName, bold ? FontWeight.Bold : FontWeight.Normal, FontSlant.Upright, FontSpacing.Normal);
    }
}
