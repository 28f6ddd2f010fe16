using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>Finds NVRTC of CUDA 11.8 to 13.</summary>
public static class NvrtcLibrary
{
    internal const string Name = "nvrtc";

    /// <summary>Environment variable with the path of NVRTC, or of its folder, in place of the usual names.</summary>
    public const string Variable = "KERNELCONTRAST_NVRTC";

    // What each major version of CUDA calls it; that of 11.8 is named after 11.2, with which it is compatible.
    private static readonly (int Major, string Linux, string Windows)[] Versions =
        [(13, "libnvrtc.so.13", "nvrtc64_130_0.dll"), (12, "libnvrtc.so.12", "nvrtc64_120_0.dll"), (11, "libnvrtc.so.11.2", "nvrtc64_112_0.dll")];

    private static readonly Lock Guard = new();
    private static nint _library;

    /// <summary>Where the library in use was found; empty before <see cref="Use"/>.</summary>
    public static string Path { get; private set; } = "";

    /// <summary>The CUDA version of the library in use.</summary>
    public static (int Major, int Minor) Version { get; private set; }

    /// <summary>Loads NVRTC, the newest there is up to a version. Doing so again is fine.</summary>
    /// <param name="newestMajor">CUDA version of the driver, which does not load what a later compiler makes.</param>
    /// <exception cref="CudaNotFoundException">There is none; the message lists every path tried and what to do.</exception>
    public static void Use(int newestMajor = int.MaxValue)
    {
        lock (Guard)
        {
            if (_library != 0) return;
            string[] names = [.. from version in Versions where version.Major <= newestMajor
                                 select OperatingSystem.IsWindows() ? version.Windows : version.Linux];
            var tried = new List<string>();
            if (!TryLoad(LibrarySearch.Candidates(Variable, names).Concat(OfCheckout(names)), tried, out nint library, out string path))
                throw new CudaNotFoundException(
                    $"No NVRTC, which compiles the kernels for your GPU: could not load {string.Join(", ", tried)}. Install the CUDA toolkit or its NVRTC package (11.8 to {(newestMajor < 13 ? newestMajor : 13)}), or give the path of {names[0]} in {Variable}.");
            _library = library;
            Path = path;
            CudaLibrary.Register();
            Nvrtc.Check(Nvrtc.nvrtcVersion(out int major, out int minor), nameof(Nvrtc.nvrtcVersion));
            Version = (major, minor);
        }
    }

    internal static nint Handle => _library != 0 ? _library
        : throw new InvalidOperationException("Find NVRTC with NvrtcLibrary.Use before calling it.");

    // NVRTC loads its built-in functions by a bare name, which only finds them beside it when they are loaded already.
    private static bool TryLoad(IEnumerable<string> candidates, List<string> tried, out nint library, out string path) =>
        LibrarySearch.TryLoad(candidates.Select(candidate =>
        {
            if (System.IO.Path.GetDirectoryName(candidate) is { Length: > 0 } folder && File.Exists(candidate))
                foreach (string builtins in Directory.GetFiles(folder, OperatingSystem.IsWindows() ? "nvrtc-builtins64_*.dll" : "libnvrtc-builtins.so.*"))
                    NativeLibrary.TryLoad(builtins, out _);
            return candidate;
        }), tried, out library, out path);

    // Where './build.sh nvrtc' puts it.
    private static IEnumerable<string> OfCheckout(string[] names)
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 }) return [];
        return from folder in CudaLibrary.CheckoutFolders() from name in names select System.IO.Path.Combine(folder, "build", "nvrtc", name);
    }
}
