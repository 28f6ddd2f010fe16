namespace KernelContrast.Devices;

/// <summary>How much work is worth waking a thread for.</summary>
internal static class CpuGrain
{
    /// <summary>Elements of a pass that reads and writes memory once: about 5 µs of work.</summary>
    internal const long Elementwise = 16384;
}
