using System.Text.Json;
using KernelContrast.Bench.Items;

namespace KernelContrast.Bench;

/// <summary>Runs the items in this process's mode: malloc settings and vector width come from its environment.</summary>
internal static class Child
{
    internal static IEnumerable<PairedBench> All() =>
        LossBench.All().Concat(GemmBench.All()).Concat(NormBench.All()).Concat(NeighborBench.All()).Concat(AugmentBench.All()).Concat(StepBench.All());

    internal static int Run(string mode, string output, string? only)
    {
        TorchSharp.torch.set_num_threads(Device.Cpu.Threads);
        TorchSharp.torch.random.manual_seed(1);
        var rows = new List<BenchRow>();
        foreach (PairedBench bench in All())
        {
            if (only is not null && !bench.Is(only)) continue;
            if (mode.EndsWith("avx2", StringComparison.Ordinal) && !bench.Narrow) continue;
            if (mode == "tuned" && !bench.Tuned && !bench.Targets.ContainsKey(mode)) continue;
            using PairedItem item = bench.Create();
            (double Ours, double Theirs)? errors = item.Errors?.Invoke();
            var (ours, theirs, ratio) = PairedTiming.Run(item.Ours, item.Theirs);
            double? target = bench.Targets.TryGetValue(mode, out double t) ? t : null;
            var row = new BenchRow(bench.Group, bench.Name, bench.Peer, mode, ours, theirs, ratio,
                item.Flops > 0 ? item.Flops / ours.Median / 1e6 : null, item.Bytes > 0 ? item.Bytes / ours.Median / 1e6 : null,
                errors?.Ours, errors?.Theirs, target);
            rows.Add(row);
            Console.WriteLine($"  {row.Item,-46} {mode,-13} ours {ours.Median,9:F3} ms  {$"torch {row.Peer}",-14} {theirs.Median,9:F3} ms  "
                + $"ratio {ratio.Median:F3} [{ratio.P20:F3}, {ratio.P80:F3}]{(target is null ? "" : $"  target {target:F2} {(row.TargetMet == true ? "met" : "MISSED")}")}");
            Device.Cpu.ReleaseUnusedMemory();
            GC.Collect();
        }
        File.WriteAllText(output, JsonSerializer.Serialize(rows, BenchJson.Default.ListBenchRow));
        return 0;
    }
}
