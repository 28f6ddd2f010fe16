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
