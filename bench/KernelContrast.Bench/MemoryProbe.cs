using KernelContrast.Bench.Items;
using KernelContrast.Losses;
using TorchSharp;

namespace KernelContrast.Bench;

/// <summary>
/// Peak resident memory of one NT-Xent forward and backward, in a process of its own: the kernel's high-water mark
/// (VmHWM) after it, less that before it with the embeddings in place and the code warm.
/// </summary>
internal static class MemoryProbe
{
    internal static int Run(string side, int rows)
    {
        const int Dim = 128;
        torch.set_num_threads(Device.Cpu.Threads);
        if (side == "ours") Ours(64, Dim); else Theirs(64, Dim);
        Tensor x = Tensor.RandomNormal(new(rows, Dim), 3);
        GC.Collect();
        double before = HighWaterMark();
        if (side == "ours") Ours(x); else Theirs(x.ToArray(), rows, Dim);
        Console.WriteLine($"{HighWaterMark():F1} {before:F1}");
        return 0;
    }

    private static void Ours(int rows, int dim)
    {
        using Tensor x = Tensor.RandomNormal(new(rows, dim), 3);
        Ours(x);
    }

    private static void Ours(Tensor x)
    {
        using var scope = new TensorScope();
        x.RequiresGrad = true;
        NtXent.Loss(x, NtXentBench.Temperature).Backward();
    }

    private static void Theirs(int rows, int dim)
    {
        using Tensor x = Tensor.RandomNormal(new(rows, dim), 3);
        Theirs(x.ToArray(), rows, dim);
    }

    private static void Theirs(float[] values, int rows, int dim)
    {
        using var scope = torch.NewDisposeScope();
        torch.Tensor self = torch.eye(rows, dtype: torch.ScalarType.Bool);
        torch.Tensor partner = torch.cat([torch.arange(rows / 2, rows), torch.arange(0, rows / 2)], 0);
        NtXentBench.Loss(Torch.Leaf(Torch.From(values, rows, dim)), self, partner).backward();
    }

    private static double HighWaterMark()
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        return double.Parse(line.AsSpan(6).Trim().ToString().Split(' ')[0]) / 1024;
    }
}
