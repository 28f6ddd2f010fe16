using System.Runtime.InteropServices;

namespace KernelContrast.Devices;

/// <summary>
/// Where threads run, on Linux; elsewhere nothing is known and nothing moved. Schedulers may leave a job's two threads on
/// one processor beside an idle one for as long as both are short of a time slice, which doubles the time of small jobs.
/// </summary>
internal static unsafe partial class Processors
{
    private const int MaskWords = 16; // 1,024 processors, as many as glibc's cpu_set_t

    private static readonly bool IsKnown = OperatingSystem.IsLinux() && Environment.ProcessorCount > 1 && HasCalls();

    /// <summary>The processor the calling thread runs on; −1 when not known.</summary>
    internal static int Current
    {
        get
        {
            if (!IsKnown) return -1;
            int processor = sched_getcpu();
            return processor < 64 * MaskWords ? processor : -1;
        }
    }

    /// <summary>Moves the calling thread off a processor, if it may run on another. Where it may run stays as it was.</summary>
    internal static void Leave(int processor)
    {
        ulong* allowed = stackalloc ulong[MaskWords], others = stackalloc ulong[MaskWords];
        new Span<ulong>(allowed, MaskWords).Clear();
        if (sched_getaffinity(0, MaskWords * sizeof(ulong), allowed) != 0) return;
        ulong any = 0;
        for (int i = 0; i < MaskWords; i++)
        {
            others[i] = i == processor / 64 ? allowed[i] & ~(1ul << processor % 64) : allowed[i];
            any |= others[i];
        }
        if (any == 0 || sched_setaffinity(0, MaskWords * sizeof(ulong), others) != 0) return;
        _ = sched_setaffinity(0, MaskWords * sizeof(ulong), allowed);
    }

    private static bool HasCalls()
    {
        try { return sched_getcpu() >= 0; }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException) { return false; }
    }

    // Names and signatures are glibc's and musl's.
    [LibraryImport("libc")] private static partial int sched_getcpu();
    [LibraryImport("libc")] private static partial int sched_getaffinity(int thread, nuint bytes, ulong* mask);
    [LibraryImport("libc")] private static partial int sched_setaffinity(int thread, nuint bytes, ulong* mask);
}
