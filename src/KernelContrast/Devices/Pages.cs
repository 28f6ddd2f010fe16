using System.Runtime.InteropServices;

namespace KernelContrast.Devices;

/// <summary>Memory's pages, on Linux; elsewhere nothing is done. Freeing would not do: an allocator keeps what is not at its heap's end.</summary>
internal static unsafe partial class Pages
{
    private const int DontNeed = 4; // MADV_DONTNEED: the pages are zeros when they are touched again

    /// <summary>Whether <see cref="Discard"/> does something.</summary>
    internal static bool CanDiscard { get; } = OperatingSystem.IsLinux() && HasCall();

    /// <summary>Gives the whole pages between two addresses back to the system; what they held is lost.</summary>
    internal static void Discard(nint start, long bytes)
    {
        long page = Environment.SystemPageSize, first = (start + page - 1) / page * page, end = (start + bytes) / page * page;
        // Refused for memory that is locked: then it stays.
        if (end > first) _ = madvise((void*)first, (nuint)(end - first), DontNeed);
    }

    private static bool HasCall()
    {
        try { return madvise(null, 0, DontNeed) == 0; }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException) { return false; }
    }

    // Name and signature are glibc's and musl's.
    [LibraryImport("libc")] private static partial int madvise(void* start, nuint bytes, int advice);
}
