using System.Globalization;
using ScottPlot;

namespace KernelContrast.Cli.Plots;

/// <summary>What one program needs at each size.</summary>
/// <param name="Name">Beside its last point.</param>
/// <param name="Sizes">Above 0.</param>
/// <param name="Values">Above 0; as many as sizes.</param>
/// <param name="IsFloor">A bound rather than a measurement: drawn dashed and grey, without points.</param>
internal sealed record ScalingCurve(string Name, double[] Sizes, double[] Values, bool IsFloor = false);

/// <summary>Curves against a size, both axes logarithmic.</summary>
/// <param name="Title">What it is, with its unit.</param>
/// <param name="Curves">At least one point in all.</param>
internal sealed record ScalingPanel(string Title, IReadOnlyList<ScalingCurve> Curves);

/// <summary>Time and memory against the number of rows, side by side.</summary>
internal static class ScalingPlot
{
    private const int PanelWidth = 560, PanelHeight = 400;

    internal static void Save(string path, string size, IReadOnlyList<ScalingPanel> panels)
    {
        if (panels.Count == 0 || panels.Any(p => p.Curves.All(c => c.Sizes.Length == 0))) throw new ArgumentException("There is nothing to draw: a panel has no points.");
        using var picture = new Picture(panels.Count * PanelWidth, PanelHeight);
        for (int i = 0; i < panels.Count; i++) picture.Plot(Panel(panels[i], size), i * PanelWidth, 0, PanelWidth, PanelHeight);
        picture.Save(path);
    }

    private static Plot Panel(ScalingPanel panel, string size)
    {
        Plot plot = PlotFont.NewPlot();
        Color ink = Color.FromHex("#262B33"), faint = Color.FromHex("#6B7480");
        plot.Title(panel.Title, 17);
        plot.Axes.Title.Label.ForeColor = ink;
        plot.XLabel(size, 13);
        plot.Axes.Bottom.Label.Bold = false;
        plot.Axes.Bottom.Label.ForeColor = faint;
        plot.Grid.MajorLineColor = Color.FromHex("#E4E7EB");
        plot.Axes.Right.FrameLineStyle.IsVisible = plot.Axes.Top.FrameLineStyle.IsVisible = false;
        int hue = 0;
        foreach (ScalingCurve curve in panel.Curves)
        {
            if (curve.Sizes.Length == 0) continue;
            SkiaSharp.SKColor chosen = Palette.Of(hue % 10, 10);
            Color color = curve.IsFloor ? faint : new Color(chosen.Red, chosen.Green, chosen.Blue);
            if (!curve.IsFloor) hue++;
            var line = plot.Add.Scatter(Array.ConvertAll(curve.Sizes, Math.Log10), Array.ConvertAll(curve.Values, Math.Log10), color);
            line.LineWidth = curve.IsFloor ? 1.5f : 2.5f;
            line.LinePattern = curve.IsFloor ? LinePattern.Dashed : LinePattern.Solid;
            line.MarkerSize = curve.IsFloor ? 0 : 6;
            line.LegendText = curve.Name;
        }
        plot.ShowLegend(Alignment.UpperLeft);
        plot.Legend.FontName = PlotFont.Name;
        plot.Legend.FontSize = 13;
        plot.Legend.OutlineColor = Color.FromHex("#E4E7EB");
        plot.Legend.ShadowColor = Colors.Transparent;
        Ticks(plot, panel);
        foreach (IAxis axis in new IAxis[] { plot.Axes.Left, plot.Axes.Bottom })
        {
            axis.FrameLineStyle.Color = axis.MajorTickStyle.Color = Color.FromHex("#B4BAC2");
            axis.MinorTickStyle.Length = 0;
            axis.TickLabelStyle.FontSize = 13;
            axis.TickLabelStyle.ForeColor = faint;
        }
        return plot;
    }

    /// <summary>A tick at each size that was measured, and at each power of ten of the values.</summary>
    private static void Ticks(Plot plot, ScalingPanel panel)
    {
        double[] sizes = [.. panel.Curves.SelectMany(c => c.Sizes).Distinct().Order()], values = [.. panel.Curves.SelectMany(c => c.Values)];
        double left = Math.Log10(sizes[0]), right = Math.Log10(sizes[^1]);
        double low = Math.Floor(Math.Log10(values.Min())), high = Math.Ceiling(Math.Log10(values.Max()) + 1e-9);
        double step = Math.Max(1, Math.Ceiling((high - low) / 6));
        plot.Axes.SetLimits(left - 0.05 - 0.02 * (right - left), right + 0.05 + 0.02 * (right - left), low, high + 0.3 * (high - low));
        plot.Axes.Bottom.SetTicks([.. sizes.Select(Math.Log10)], [.. sizes.Select(s => s.ToString("#,0", CultureInfo.InvariantCulture))]);
        double[] powers = [.. Enumerable.Range(0, (int)((high - low) / step) + 1).Select(i => low + i * step)];
        plot.Axes.Left.SetTicks(powers, [.. powers.Select(p => Math.Pow(10, p).ToString("#,0.########", CultureInfo.InvariantCulture))]);
    }
}
