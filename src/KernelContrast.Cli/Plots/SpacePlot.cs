using KernelContrast.Evaluation;
using ScottPlot;
using SkiaSharp;

namespace KernelContrast.Cli.Plots;

/// <summary>One panel of a <see cref="SpacePlot"/>.</summary>
/// <param name="Title">Above the panel.</param>
/// <param name="Note">Below the title, small; may be empty.</param>
/// <param name="Points">[N, 2].</param>
internal sealed record SpacePanel(string Title, string Note, FeatureMatrix Points);

/// <summary>Points in the plane coloured by class, one panel beside the other, with one legend.</summary>
internal static class SpacePlot
{
    private const int PanelSize = 520, Gap = 20, Head = 66, LegendRow = 28;
    private const float LegendSize = 16, Dot = 6, AfterDot = 6, AfterName = 22;
    private const int MostNamed = 20;
    // Classes are drawn in turns of this many points, or the last would cover the others.
    private const int PointsPerTurn = 8;

    /// <summary>Draws and writes the picture.</summary>
    /// <param name="path">The PNG.</param>
    /// <param name="panels">At least one; all of the same images.</param>
    /// <param name="labels">The class of each point, −1 for none.</param>
    /// <param name="classNames">For the legend; empty for no colours.</param>
    internal static void Save(string path, IReadOnlyList<SpacePanel> panels, int[] labels, IReadOnlyList<string> classNames)
    {
        using Picture picture = Draw(panels, labels, classNames);
        picture.Save(path);
    }

    internal static Picture Draw(IReadOnlyList<SpacePanel> panels, int[] labels, IReadOnlyList<string> classNames)
    {
        int width = panels.Count * PanelSize + (panels.Count + 1) * Gap;
        List<List<int>> legend = LegendRows(classNames, width - 2 * Gap);
        var picture = new Picture(width, Head + PanelSize + 24 + LegendRow * Math.Max(1, legend.Count));
        for (int i = 0; i < panels.Count; i++)
        {
            int left = Gap + i * (PanelSize + Gap);
            picture.Text(panels[i].Title, left, 30, 20, semibold: true);
            picture.Text(panels[i].Note, left, 53, 14, color: Picture.Faint);
            picture.Plot(Scatter(panels[i].Points, labels, classNames.Count), left, Head, PanelSize, PanelSize);
        }
        Legend(picture, classNames, legend, width);
        return picture;
    }

    private static Plot Scatter(FeatureMatrix points, int[] labels, int classes)
    {
        if (points.Dim != 2 || points.Rows != labels.Length)
            throw new ArgumentException($"A picture of {labels.Length} images needs points of shape [{labels.Length}, 2], not [{points.Rows}, {points.Dim}].");
        Plot plot = PlotFont.NewPlot();
        plot.FigureBackground.Color = ToScottPlot(Picture.Panel);
        plot.DataBackground.Color = ToScottPlot(Picture.Panel);
        plot.HideGrid();
        plot.Axes.Frameless();
        float size = points.Rows <= 500 ? 7 : points.Rows <= 3000 ? 5 : 3.5f;
        var byClass = Enumerable.Range(0, points.Rows).GroupBy(i => labels[i]).ToDictionary(group => group.Key, group => group.ToArray());
        int[] order = [.. byClass.Keys.Order()];
        for (int turn = 0; order.Any(c => byClass[c].Length > turn * PointsPerTurn); turn++)
        {
            foreach (int label in order)
            {
                int[] some = [.. byClass[label].Skip(turn * PointsPerTurn).Take(PointsPerTurn)];
                if (some.Length == 0) continue;
                double[] xs = [.. some.Select(i => (double)points.Row(i)[0])], ys = [.. some.Select(i => (double)points.Row(i)[1])];
                plot.Add.Markers(xs, ys, MarkerShape.FilledCircle, size, ToScottPlot(Palette.Of(label, classes)));
            }
        }
        Frame(plot, points);
        return plot;
    }

    /// <summary>Both axes to one scale, so that distances read the same in every direction.</summary>
    private static void Frame(Plot plot, FeatureMatrix points)
    {
        float lowX = float.MaxValue, highX = float.MinValue, lowY = float.MaxValue, highY = float.MinValue;
        for (int i = 0; i < points.Rows; i++)
        {
            (float x, float y) = (points.Row(i)[0], points.Row(i)[1]);
            (lowX, highX, lowY, highY) = (Math.Min(lowX, x), Math.Max(highX, x), Math.Min(lowY, y), Math.Max(highY, y));
        }
        double half = Math.Max(Math.Max(highX - lowX, highY - lowY) * 0.53, 1e-9);
        double centreX = (lowX + (double)highX) / 2, centreY = (lowY + (double)highY) / 2;
        plot.Axes.SetLimits(centreX - half, centreX + half, centreY - half, centreY + half);
    }

    /// <summary>Which classes stand in each row of the legend.</summary>
    private static List<List<int>> LegendRows(IReadOnlyList<string> classNames, float width)
    {
        var rows = new List<List<int>>();
        if (classNames.Count > MostNamed) return rows;
        float used = width;
        for (int c = 0; c < classNames.Count; c++)
        {
            float needed = WidthOf(classNames[c]) + AfterName;
            if (used + needed - AfterName > width)
            {
                rows.Add([]);
                used = 0;
            }
            rows[^1].Add(c);
            used += needed;
        }
        return rows;
    }

    private static float WidthOf(string name) => 2 * Dot + AfterDot + Picture.WidthOf(name, LegendSize);

    private static void Legend(Picture picture, IReadOnlyList<string> classNames, List<List<int>> rows, int width)
    {
        float baseline = Head + PanelSize + 32;
        if (classNames.Count > MostNamed)
            picture.Text($"coloured by class ({classNames.Count} classes)", width / 2f, baseline, LegendSize, SKTextAlign.Center, Picture.Faint);
        foreach (List<int> row in rows)
        {
            float x = (width - row.Sum(c => WidthOf(classNames[c]) + AfterName) + AfterName) / 2;
            foreach (int c in row)
            {
                using var paint = new SKPaint { Color = Palette.Of(c, classNames.Count), IsAntialias = true };
                picture.Canvas.DrawCircle(x + Dot, baseline - LegendSize * 0.35f, Dot, paint);
                picture.Text(classNames[c], x + 2 * Dot + AfterDot, baseline, LegendSize);
                x += WidthOf(classNames[c]) + AfterName;
            }
            baseline += LegendRow;
        }
    }

    private static Color ToScottPlot(SKColor color) => new(color.Red, color.Green, color.Blue);
}
