using KernelContrast.Bench.Items;
using KernelContrast.Cli.Bench;
using KernelContrast.Losses;
using TorchSharp;

namespace KernelContrast.Bench;

/// <summary>
/// Peak resident memory of one NT-Xent forward and backward, in a process of its own: the kernel's high-water mark
/// (VmHWM) after it, less that before it with the embeddings in place and the code warm.
/// </summary>
internal static class MemoryProbe
{
    internal const string Ours = "ours";

    /// <summary>Rows whose memory is measured, and the one size at which it is that of the whole process that counts.</summary>
    internal static IReadOnlyList<int> Sizes { get; } = [1024, 4096, 8192, 16384];

    internal const int LargeRows = 131072;

    internal const int Dim = 128;

    internal static IEnumerable<string> Sides => Enum.GetValues<TorchStyle>().Select(LossBench.NameOf).Prepend(Ours);

    internal static int Run(string side, int rows)
    {
        // Ours runs without libtorch: its high-water mark is that of the process in all.
        Action<LossProblem> run = side == Ours ? problem => problem.Run() : Theirs(Enum.GetValues<TorchStyle>().Single(s => LossBench.NameOf(s) == side));
        using (LossProblem small = Problem(64)) run(small);
        using LossProblem large = Problem(rows);
        GC.Collect();
        double before = HighWaterMark();
        run(large);
        Console.WriteLine($"{HighWaterMark():F1} {before:F1}");
        return 0;
    }

    private static LossProblem Problem(int rows) => new(LossKind.NtXent, rows, Dim, 0.1f);

    private static Action<LossProblem> Theirs(TorchStyle style)
    {
        torch.set_num_threads(Device.Cpu.Threads);
        return problem =>
        {
            using var loss = new TorchLoss(problem);
            loss.Run(style);
        };
    }

    private static double HighWaterMark()
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        return double.Parse(line.AsSpan(6).Trim().ToString().Split(' ')[0]) / 1024;
    }
}
