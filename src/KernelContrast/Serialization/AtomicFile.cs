using System.Runtime.InteropServices;

namespace KernelContrast;

/// <summary>Writes files so that a reader, or a run killed at any moment, finds either the old content or the new one, whole.</summary>
public static partial class AtomicFile
{
    /// <summary>
    /// Lets <paramref name="write"/> fill a temporary file beside <paramref name="path"/>, flushes it to the disk and
    /// renames it over <paramref name="path"/>; then the directory is flushed too, where the system can (Linux, macOS).
    /// </summary>
    /// <remarks>A symbolic link is followed. Paths below <c>/dev</c> are written to as they are: nothing is renamed over a device.</remarks>
    /// <exception cref="DirectoryNotFoundException">There is no such directory.</exception>
    /// <exception cref="IOException">The file could not be written (the disk is full, say); what was there before is unchanged.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        ArgumentException.ThrowIfNullOrEmpty(path);
        string target = Path.GetFullPath(path);
        if (IsDevice(target))
        {
            using FileStream device = new(target, FileMode.Open, FileAccess.Write);
            write(device);
            return;
        }
        if (File.Exists(target)) target = File.ResolveLinkTarget(target, returnFinalTarget: true)?.FullName ?? target;
        string directory = Path.GetDirectoryName(target) ?? target;
        if (!Directory.Exists(directory))
            throw new DirectoryNotFoundException($"{path}: the directory {directory} does not exist. Create it, or choose another place.");
        if (Directory.Exists(target))
            throw new IOException($"{path}: expected the name of a file, but this is a directory.");

        string temporary = Path.Combine(directory, $"{TemporaryPrefix(target)}{Guid.NewGuid():N}{TemporarySuffix}");
        try
        {
            using (FileStream file = new(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
            {
                write(file);
                file.Flush(flushToDisk: true);
            }
            File.Move(temporary, target, overwrite: true);
        }
        catch (Exception failure)
        {
            TryDelete(temporary);
            // Only the plain type comes from the system; its subtypes name their own file already.
            if (failure.GetType() == typeof(IOException))
                throw new IOException($"{path}: could not be written ({failure.Message.TrimEnd('.')}). {(File.Exists(target) ? "What was there before is unchanged." : "Nothing was left behind.")}", failure);
            throw;
        }
        FlushDirectory(directory);
    }

    /// <summary>Removes what runs killed while they wrote <paramref name="path"/> left behind. Nobody may be writing it now.</summary>
    public static void RemoveLeftovers(string path)
    {
        string target = Path.GetFullPath(path);
        string? directory = Path.GetDirectoryName(target);
        if (directory is null || !Directory.Exists(directory)) return;
        string prefix = TemporaryPrefix(target);
        foreach (string file in Directory.EnumerateFiles(directory))
        {
            string name = Path.GetFileName(file);
            if (name.StartsWith(prefix, StringComparison.Ordinal) && name.EndsWith(TemporarySuffix, StringComparison.Ordinal)) TryDelete(file);
        }
    }

    private const string TemporarySuffix = ".partial";

    private static string TemporaryPrefix(string target) => $".{Path.GetFileName(target)}.";

    private static bool IsDevice(string path) => !OperatingSystem.IsWindows() && path.StartsWith("/dev/", StringComparison.Ordinal) && File.Exists(path);

    private static void TryDelete(string file)
    {
        try { File.Delete(file); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { /* the failure being reported matters more */ }
    }

    /// <summary>Makes the rename itself survive a power cut. Some file systems refuse; the rename is atomic all the same.</summary>
    private static void FlushDirectory(string directory)
    {
        if (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS()) return;
        const int readOnly = 0;
        int handle = open(directory, readOnly);
        if (handle < 0) return;
        _ = fsync(handle);
        _ = close(handle);
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc")]
    private static partial int fsync(int handle);

    [LibraryImport("libc")]
    private static partial int close(int handle);
}
