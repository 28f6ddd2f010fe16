using KernelContrast.Cli.Bench;
using KernelContrast.Losses;

namespace KernelContrast.Bench.Items;

/// <summary>
/// The streaming losses forward and backward against TorchSharp as a user writes them (targets are for these rows), by hand
/// and in place, and by hand in chunks.
/// </summary>
internal static class LossBench
{
    internal static IEnumerable<PairedBench> All()
    {
        foreach (int rows in new[] { 256, 512, 1024, 4096, 8192, 16384 })
        {
            var targets = rows <= 1024
                ? new Dictionary<string, double> { ["default"] = 0.33, ["tuned"] = 0.40 }
                : rows <= 8192 ? new() { ["default"] = 0.18, ["tuned"] = 0.35 } : new() { ["default"] = 0.12 };
            if (rows >= 1024) targets["default avx2"] = targets["tuned avx2"] = rows == 1024 ? 0.55 : 0.4;
            foreach (TorchStyle style in Styles) yield return Bench(LossKind.NtXent, rows, 128, 0.1f, style, targets, narrow: rows is 1024 or 4096);
        }
        yield return Bench(LossKind.NtXent, 4096, 128, 0.07f, TorchStyle.User, Targets(0.18, 0.35));
        foreach (float temperature in new[] { 0.1f, 0.07f })
            foreach (TorchStyle style in temperature == 0.1f ? Styles : [TorchStyle.User])
            {
                foreach (int dim in new[] { 128, 512 }) yield return Bench(LossKind.Clip, 4096, dim, temperature, style, Targets(0.2, 0.4), narrow: dim == 128 && temperature == 0.1f);
                yield return Bench(LossKind.Moco, 256, 128, temperature, style, Targets(0.5, 0.5));
                foreach (LossKind kind in new[] { LossKind.SupCon, LossKind.Dcl, LossKind.SigLip, LossKind.InfoNce })
                    yield return Bench(kind, 4096, 128, temperature, style, kind == LossKind.InfoNce ? [] : Targets(0.3, 0.45));
                yield return Bench(LossKind.InfoNce, 4096, 128, temperature, style, [], constantKeys: true);
            }
    }

    private static TorchStyle[] Styles => Enum.GetValues<TorchStyle>();

    private static Dictionary<string, double> Targets(double plain, double tuned) => new() { ["default"] = plain, ["tuned"] = tuned };

    internal static string NameOf(TorchStyle style) => style switch { TorchStyle.User => "user", TorchStyle.InPlace => "in place", _ => "chunked" };

    private static PairedBench Bench(LossKind kind, int rows, int dim, float temperature, TorchStyle style, Dictionary<string, double> targets, bool narrow = false, bool constantKeys = false)
    {
        string name = LossProblem.NameOf(kind, rows, dim, temperature) + (constantKeys ? ", constant keys" : "");
        return new PairedBench("loss", name, style == TorchStyle.User ? targets : new Dictionary<string, double>(), () => Create(kind, rows, dim, temperature, style, constantKeys))
        {
            Peer = NameOf(style),
            Tuned = true,
            Narrow = narrow && style == TorchStyle.User,
        };
    }

    private static PairedItem Create(LossKind kind, int rows, int dim, float temperature, TorchStyle style, bool constantKeys)
    {
        var ours = new LossProblem(kind, rows, dim, temperature, constantKeys: constantKeys);
        var theirs = new TorchLoss(ours);
        return new PairedItem
        {
            Ours = ours.Run,
            Theirs = () => theirs.Run(style),
            Flops = ours.Flops,
            Errors = rows > 4096 ? null : () =>
            {
                double[] exact = theirs.Exact().Gradients;
                return (Errors.Relative(ours.Evaluate().Gradients, exact), Errors.Relative(theirs.Evaluate(style).Gradients, exact));
            },
            Cleanup = () =>
            {
                ours.Dispose();
                theirs.Dispose();
            },
        };
    }
}
