using System.Buffers.Binary;

namespace KernelContrast.TorchSharpSupport;

/// <summary>Makes TorchSharp load where the system's libstdc++ is older than the one it was linked against.</summary>
/// <remarks>
/// TorchSharp 0.107's native library asks for the symbol version GLIBCXX_3.4.32 (Debian 12 ends at 3.4.30), for one
/// symbol that only initialises iostreams. Marking that version requirement weak (VER_FLG_WEAK) in the copy beside the
/// program makes the loader accept an older libstdc++. Elsewhere nothing changes.
/// </remarks>
internal static class LibTorchLoader
{
    // The ELF hash of "GLIBCXX_3.4.32", little-endian, as it stands in an Elf64_Vernaux entry.
    private static readonly byte[] s_versionHash = [0x42, 0xF8, 0x97, 0x02];

    internal static void Prepare()
    {
        if (!OperatingSystem.IsLinux()) return;
        string library = Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so");
        if (!File.Exists(library)) library = Path.Combine(AppContext.BaseDirectory, "libLibTorchSharp.so");
        if (!File.Exists(library) || SystemHasVersion()) return;
        byte[] image = File.ReadAllBytes(library);
        int entry = image.AsSpan().IndexOf(s_versionHash);
        if (entry < 0 || image.AsSpan(entry + 4).IndexOf(s_versionHash) >= 0)
            throw new InvalidOperationException($"{library} does not look like TorchSharp 0.107.0: its version table is not as expected.");
        Span<byte> flags = image.AsSpan(entry + 4, 2);
        if (BinaryPrimitives.ReadUInt16LittleEndian(flags) == 2) return;
        BinaryPrimitives.WriteUInt16LittleEndian(flags, 2);
        string temporary = library + ".tmp";
        File.WriteAllBytes(temporary, image);
        File.Move(temporary, library, overwrite: true);
    }

    private static bool SystemHasVersion()
    {
        foreach (string folder in new[] { "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib" })
        {
            string library = Path.Combine(folder, "libstdc++.so.6");
            if (File.Exists(library)) return File.ReadAllBytes(library).AsSpan().IndexOf("GLIBCXX_3.4.32\0"u8) >= 0;
        }
        return false;
    }
}
