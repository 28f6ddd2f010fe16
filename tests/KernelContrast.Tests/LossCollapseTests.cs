using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>
/// Rows exactly or nearly alike, at temperatures where a rounding of a similarity, or of a sum of them, would be seen: 1/τ
/// magnifies it. Loss and gradients against double precision.
/// </summary>
[TestFixture]
internal sealed class LossCollapseTests
{
    private static string[] Devices => TestDevice.Names;

    private static readonly float[] Temperatures = [1e-3f, 0.02f, 0.023f, 0.1f, 10];

    /// <summary>SupCon's many positives are summed and divided: the sum's rounding too would be seen.</summary>
    [Test]
    public void Supcon_of_rows_alike_keeps_its_bounds([ValueSource(nameof(Devices))] string device, [Values(2, 7, 64, 300)] int rows, [Values(1, 3)] int classes, [Values] bool near)
    {
        const int dim = 5;
        foreach (double length in new[] { 0, Math.Sqrt(8), 1e-3 }) // 0: normalised
            foreach (float temperature in Temperatures)
            {
                LossTrial trial = new(LossKind.SupCon, dim, temperature, Rows(rows, dim, length == 0 ? 1.7 : length, near ? 1e-4 : 0)) { Labels = [.. Enumerable.Range(0, rows).Select(i => i % classes)], Normalize = length == 0 };
                Cases.ContrastReference exact = trial.Exact();
                foreach (Reduction reduction in Enum.GetValues<Reduction>())
                    foreach (bool onDevice in new[] { false, true })
                    {
                        if (onDevice && (rows > 64 || reduction != Reduction.Mean)) continue;
                        LossTrial now = trial with { Reduction = reduction, ScalarsOnDevice = onDevice, Upstream = [.. Enumerable.Repeat(1f, reduction == Reduction.None ? rows : 1)] };
                        foreach (LossTrial.Ratio ratio in now.Check(device, exact, alike: !near))
                            Assert.That(ratio.Worst, Is.LessThanOrEqualTo(1), $"‖h‖ = {length}, τ = {temperature}, {reduction}: {ratio.What} {ratio.Where}");
                    }
            }
    }

    private static float[] Rows(int count, int dim, double length, double apart)
    {
        double[] one = [.. Enumerable.Range(0, dim).Select(d => Math.Sin(1 + 2.3 * d))];
        double norm = Math.Sqrt(one.Sum(x => x * x));
        var random = new PhiloxStream(7, 3);
        return [.. Enumerable.Range(0, count * dim).Select(e => (float)(length * (one[e % dim] / norm + apart * random.NextNormal())))];
    }
}
