using System.Diagnostics;

namespace KernelContrast.Cli.Bench;

/// <summary>The rate of this device's own matrix product in this run: what a loss's time is held against.</summary>
internal static class GemmRate
{
    /// <summary>GFLOP/s of one product of two size × size matrices: the median of five, after a warm-up.</summary>
    internal static double Measure(Device device, int size = 2048)
    {
        using Tensor a = Tensor.RandomNormal(new(size, size), 1, device), b = Tensor.RandomNormal(new(size, size), 2, device);
        Once();
        double[] milliseconds = [.. Enumerable.Range(0, 5).Select(_ => Once()).Order()];
        return 2.0 * size * size * size / milliseconds[2] / 1e6;

        double Once()
        {
            device.Synchronize();
            long start = Stopwatch.GetTimestamp();
            using Tensor c = Functional.MatMul(a, b);
            device.Synchronize();
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
    }
}
