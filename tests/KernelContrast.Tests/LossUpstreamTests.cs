using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>Upstream gradients of any size, above all where every similarity of a row is near −1 and 1/Σ nearly the largest float.</summary>
[TestFixture]
internal sealed class LossUpstreamTests
{
    private static readonly LossKind[] Kinds = Enum.GetValues<LossKind>();

    private static string[] Devices => TestDevice.Names;

    [Test]
    public void Gradients_keep_their_bounds_under_any_upstream_gradient([ValueSource(nameof(Kinds))] LossKind kind, [ValueSource(nameof(Devices))] string device, [Values] Reduction reduction)
    {
        foreach (bool opposite in new[] { false, true })
            foreach (float temperature in new[] { 0.023f, 0.1f, 0.005f })
                foreach (Size size in Enum.GetValues<Size>())
                {
                    if (opposite && kind == LossKind.Dcl || reduction != Reduction.None && size == Size.Mixed) continue; // two pairs are not both opposite each other
                    LossTrial trial = Trial(kind, opposite, temperature) with { Reduction = reduction };
                    int rows = reduction == Reduction.None ? trial.Rows.Length / trial.Dim : 1;
                    trial = trial with { Upstream = [.. Enumerable.Range(0, rows).Select(i => Upstream(size, i))] };
                    foreach (LossTrial.Ratio ratio in trial.Check(device, trial.Exact()))
                        Assert.That(ratio.Worst, Is.LessThanOrEqualTo(1), $"{(opposite ? "opposite" : "random")}, τ = {temperature}, {size}: {ratio.What} {ratio.Where}");
                }
    }

    internal enum Size { Tiny, One, Twenty, Large, Huge, Mixed, Zero }

    private static float Upstream(Size size, int i)
    {
        float sign = i % 3 == 1 ? -1 : 1, about = 1 + 0.3f * MathF.Sin(i);
        return sign * about * size switch
        {
            Size.Tiny => 1e-20f,
            Size.One => 1,
            Size.Twenty => 20,
            Size.Large => 65536,
            Size.Huge => 1e30f,
            Size.Mixed => i % 2 == 0 ? 1e-4f : 1e4f,
            _ => 0,
        };
    }

    /// <summary>A row whose loss's gradient is not finite spoils no other row's where rows share nothing.</summary>
    [Test]
    public void A_rows_infinite_upstream_gradient_is_its_own_affair([Values(LossKind.InfoNce, LossKind.Moco)] LossKind kind, [ValueSource(nameof(Devices))] string device,
        [Values(float.PositiveInfinity, float.NaN)] float upstream)
    {
        LossTrial trial = Trial(kind, opposite: false, 0.1f) with { Reduction = Reduction.None, ConstantKeys = true };
        int rows = trial.Rows.Length / trial.Dim;
        float[] plain = (trial with { Upstream = [.. Enumerable.Repeat(1f, rows)] }).Run(Device.Parse(device)).Rows;
        float[] spoilt = (trial with { Upstream = [.. Enumerable.Range(0, rows).Select(i => i == 3 ? upstream : 1)] }).Run(Device.Parse(device)).Rows;
        for (int e = 0; e < plain.Length; e++)
            Assert.That(spoilt[e], e / trial.Dim == 3 ? Is.NaN : Is.EqualTo(plain[e]), $"row {e / trial.Dim}");
    }

    /// <summary>An infinite upstream gradient of all rows makes infinities of their gradients, but leaves 0 what is 0; NaN spoils all.</summary>
    [Test]
    public void What_has_no_gradient_has_none_under_an_infinite_one([ValueSource(nameof(Kinds))] LossKind kind, [ValueSource(nameof(Devices))] string device,
        [Values(Reduction.Mean, Reduction.Sum)] Reduction reduction, [Values(0.1f, 0.005f)] float temperature)
    {
        LossTrial trial = Trial(kind, opposite: false, temperature) with { Reduction = reduction };
        Array.Clear(trial.Rows, 4 * trial.Dim, trial.Dim);
        LossTrial.Outputs plain = Run(1), more = Run(float.PositiveInfinity), less = Run(float.NegativeInfinity), none = Run(float.NaN);
        Assert.That(plain.Rows.Count(g => g == 0), Is.EqualTo(trial.Dim), "the row of zeros, and no other");
        foreach ((float[] g, float[] up, float[] down, float[] spoilt, string what) in new[]
        {
            (plain.Rows, more.Rows, less.Rows, none.Rows, "rows"), (plain.Keys, more.Keys, less.Keys, none.Keys, "keys"),
            ([plain.Temperature], [more.Temperature], [less.Temperature], [none.Temperature], "τ"), ([plain.Bias], [more.Bias], [less.Bias], [none.Bias], "b"),
        })
            for (int e = 0; e < g.Length; e++)
            {
                if (float.IsNaN(g[e])) continue; // none asked for
                float expected = g[e] == 0 ? 0 : g[e] > 0 ? float.PositiveInfinity : float.NegativeInfinity;
                Assert.That((up[e], down[e], spoilt[e]), Is.EqualTo((expected, -expected, float.NaN)), $"{what}' gradient {e}, {g[e]} otherwise");
            }

        LossTrial.Outputs Run(float upstream) => (trial with { Upstream = [upstream] }).Run(Device.Parse(device));
    }

    /// <summary>With <see cref="Reduction.None"/> nothing at all counts: every gradient is 0, whatever comes from above.</summary>
    [Test]
    public void Where_no_row_counts_an_infinite_upstream_gradient_gives_0([ValueSource(nameof(Devices))] string device, [Values] Reduction reduction)
    {
        LossTrial trial = Trial(LossKind.SupCon, opposite: false, 0.1f) with { Reduction = reduction };
        int rows = trial.Rows.Length / trial.Dim;
        LossTrial.Outputs got = (trial with
        {
            Labels = [.. Enumerable.Range(0, rows)],
            Upstream = [.. Enumerable.Repeat(float.PositiveInfinity, reduction == Reduction.None ? rows : 1)],
        }).Run(Device.Parse(device));
        Assert.That(got.Rows, Is.All.Zero);
        Assert.That((got.Losses.Max(), got.Temperature), Is.EqualTo((0, 0)));
    }

    /// <summary>The unit that all rows share is a power of two: one row's huge upstream gradient takes no digits from the others down to the stated ratio.</summary>
    [Test]
    public void One_rows_huge_upstream_gradient_leaves_the_others_their_digits([Values(LossKind.InfoNce, LossKind.Moco)] LossKind kind, [ValueSource(nameof(Devices))] string device,
        [Values(1e10f, 1e28f)] float huge)
    {
        LossTrial trial = Trial(kind, opposite: false, 0.1f) with { Reduction = Reduction.None, ConstantKeys = true };
        int rows = trial.Rows.Length / trial.Dim;
        float[] plain = (trial with { Upstream = [.. Enumerable.Repeat(1f, rows)] }).Run(Device.Parse(device)).Rows;
        float[] beside = (trial with { Upstream = [.. Enumerable.Range(0, rows).Select(i => i == 3 ? huge : 1)] }).Run(Device.Parse(device)).Rows;
        for (int i = 0; i < rows; i++)
        {
            if (i == 3) continue;
            float[] expected = plain[(i * trial.Dim)..((i + 1) * trial.Dim)];
            Assert.That(beside[(i * trial.Dim)..((i + 1) * trial.Dim)], Is.EqualTo(expected).Within(1e-6 * expected.Max(Math.Abs)), $"row {i}");
        }
    }

    /// <param name="kind">Of the loss.</param>
    /// <param name="opposite">Whether rows point one way and what they are contrasted with the other, a little apart; within one batch that is one pair.</param>
    /// <param name="temperature">τ.</param>
    private static LossTrial Trial(LossKind kind, bool opposite, float temperature)
    {
        const int dim = 9;
        bool within = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;
        int rows = within && opposite ? 2 : 10, columns = within ? 0 : kind == LossKind.Clip ? rows : rows + 3;
        return new(kind, dim, temperature, Values(rows, 1))
        {
            Keys = Values(columns, 2),
            Positives = Values(kind == LossKind.Moco ? rows : 0, 3),
            Labels = kind == LossKind.SupCon ? [.. Enumerable.Range(0, rows).Select(i => i % (opposite ? 1 : 3))] : null,
            Bias = -2,
        };

        float[] Values(int count, ulong seed)
        {
            var random = new PhiloxStream(31, seed);
            return [.. Enumerable.Range(0, count * dim).Select(e =>
            {
                float x = random.NextNormal();
                int sign = within ? e / dim % 2 == 0 ? 1 : -1 : seed == 1 ? 1 : -1;
                return opposite ? sign * (1 + e % dim + 1e-4f * x) : x;
            })];
        }
    }
}
