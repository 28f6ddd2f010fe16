using System.Globalization;
using ScottPlot;

namespace KernelContrast.Cli.Plots;

/// <summary>One curve over the epochs, in a panel of its own.</summary>
/// <param name="Title">What it is, with its unit.</param>
/// <param name="Epochs">Where it was measured; may be fewer than there are epochs.</param>
/// <param name="Values">What was measured.</param>
/// <param name="Reference">A level to compare with, drawn as a dashed line with this name.</param>
internal sealed record TrainingCurve(string Title, double[] Epochs, double[] Values, (string Name, double Level)? Reference = null);

/// <summary>Training curves side by side: loss, accuracy, health.</summary>
internal static class TrainingPlot
{
    private const int PanelWidth = 380, PanelHeight = 290, PerRow = 3;

    internal static void Save(string path, IReadOnlyList<TrainingCurve> curves)
    {
        using Picture picture = Draw(curves);
        picture.Save(path);
    }

    internal static Picture Draw(IReadOnlyList<TrainingCurve> curves)
    {
        if (curves.Count == 0) throw new ArgumentException("There is nothing to draw: no curve was given.");
        int columns = Math.Min(PerRow, curves.Count), rows = (curves.Count + PerRow - 1) / PerRow;
        var picture = new Picture(columns * PanelWidth, rows * PanelHeight);
        for (int i = 0; i < curves.Count; i++)
        {
            picture.Plot(Panel(curves[i], i), i % PerRow * PanelWidth, i / PerRow * PanelHeight, PanelWidth, PanelHeight);
        }
        return picture;
    }

    private static Plot Panel(TrainingCurve curve, int index)
    {
        Plot plot = PlotFont.NewPlot();
        Color ink = Color.FromHex("#262B33"), faint = Color.FromHex("#6B7480");
        SkiaSharp.SKColor hue = Palette.Of(index % 10, 10);
        var color = new Color(hue.Red, hue.Green, hue.Blue);
        plot.Title(curve.Title, 17);
        plot.Axes.Title.Label.ForeColor = ink;
        plot.XLabel("epoch", 13);
        plot.Axes.Bottom.Label.Bold = false;
        plot.Axes.Bottom.Label.ForeColor = faint;
        plot.Grid.MajorLineColor = Color.FromHex("#E4E7EB");
        plot.Axes.Right.FrameLineStyle.IsVisible = plot.Axes.Top.FrameLineStyle.IsVisible = false;
        foreach (IAxis axis in new IAxis[] { plot.Axes.Left, plot.Axes.Bottom })
        {
            axis.FrameLineStyle.Color = axis.MajorTickStyle.Color = Color.FromHex("#B4BAC2");
            axis.MinorTickStyle.Length = 0;
            axis.TickLabelStyle.FontSize = 13;
            axis.TickLabelStyle.ForeColor = faint;
        }
        // A value that is no number leaves a gap; ScottPlot would draw none of the line.
        (double X, double Y)[] points = [.. curve.Epochs.Zip(curve.Values).Where(p => double.IsFinite(p.Second))];
        if (points.Length > 0)
        {
            var line = plot.Add.Scatter(points.Select(p => p.X).ToArray(), points.Select(p => p.Y).ToArray(), color);
            line.LineWidth = 2.5f;
            line.MarkerSize = points.Length <= 30 ? 6 : 0;
            if (points.Length == 1) line.MarkerSize = 9;
        }
        if (curve.Reference is { } reference)
        {
            plot.Add.HorizontalLine(reference.Level, 1.5f, faint, LinePattern.Dashed);
            double right = Math.Max(1, points.Length > 0 ? points.Max(p => p.X) : 1);
            var name = plot.Add.Text(FormattableString.Invariant($"{reference.Name} {reference.Level:0.###}"), right, reference.Level);
            name.LabelFontName = PlotFont.Name;
            name.LabelFontSize = 13;
            name.LabelFontColor = faint;
            name.LabelAlignment = Alignment.UpperRight;
            name.OffsetY = 3;
        }
        Limits(plot, points, curve.Reference?.Level);
        return plot;
    }

    private static void Limits(Plot plot, (double X, double Y)[] points, double? reference)
    {
        double[] levels = [.. points.Select(p => p.Y), .. reference is { } level ? new[] { level } : []];
        double[] epochs = [.. points.Select(p => p.X)];
        if (epochs.Length == 0) (epochs, levels) = ([0, 1], [0, 1, .. levels]);
        double low = levels.Min(), high = levels.Max(), pad = high > low ? 0.1 * (high - low) : Math.Max(0.1, 0.1 * Math.Abs(high));
        double first = Math.Min(0, epochs.Min()), last = Math.Max(epochs.Max(), first + 1);
        plot.Axes.SetLimits(first - 0.03 * (last - first), last + 0.03 * (last - first), low - pad, high + pad);
        // Epochs are whole numbers, and so are their ticks.
        double step = new[] { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000 }.FirstOrDefault(s => (last - first) / s <= 8, 2000);
        double[] ticks = [.. Enumerable.Range(0, (int)((last - first) / step) + 1).Select(i => first + i * step)];
        plot.Axes.Bottom.SetTicks(ticks, [.. ticks.Select(t => t.ToString("0", CultureInfo.InvariantCulture))]);
    }
}
