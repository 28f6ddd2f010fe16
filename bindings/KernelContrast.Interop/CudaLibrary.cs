using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;

namespace KernelContrast.Interop;

/// <summary>What stands behind the driver API.</summary>
public enum CudaDriverKind
{
    /// <summary>NVIDIA's driver.</summary>
    Nvidia,

    /// <summary>The emulated driver, which runs the same kernel sources on the CPU.</summary>
    Emulated,
}

/// <summary>
/// Finds the library behind the driver API. A process uses one driver, chosen by name before the first call; nothing
/// is ever chosen in its stead.
/// </summary>
public static class CudaLibrary
{
    internal const string Name = "cuda";

    /// <summary>Environment variable with the path of NVIDIA's driver library, in place of the usual names.</summary>
    public const string DriverVariable = "KERNELCONTRAST_CUDA_DRIVER";

    /// <summary>Environment variable with the path of the emulated driver library.</summary>
    public const string EmulatorVariable = "KERNELCONTRAST_EMULATOR";

    private const string EmulatorFile = "libkernelcontrast_emulator.so";

    private const int InvalidValue = 1; // CUDA_ERROR_INVALID_VALUE

    private static readonly Lock Guard = new();
    private static CudaDriverKind? _chosen;
    private static nint _library;
    private static string _path = "";

    static CudaLibrary() => NativeLibrary.SetDllImportResolver(typeof(CudaLibrary).Assembly, Resolve);

    /// <summary>Where the library in use was found; empty before <see cref="Use"/>.</summary>
    public static string Path => _path;

    /// <summary>The driver this process uses; null before <see cref="Use"/>.</summary>
    public static CudaDriverKind? Kind => _chosen;

    /// <summary>Chooses and loads the driver of this process. Doing so again with the same kind is fine.</summary>
    /// <exception cref="CudaNotFoundException">No such library; the message lists every path tried and what to do.</exception>
    /// <exception cref="InvalidOperationException">The process already uses the other driver.</exception>
    public static void Use(CudaDriverKind kind)
    {
        lock (Guard)
        {
            if (_chosen == kind) return;
            if (_chosen is not null)
                throw new InvalidOperationException(
                    $"This process already uses {Describe(_chosen.Value)} ({_path}); a process has one CUDA driver. Use {Describe(kind)} in another.");
            var tried = new List<string>();
            if (!TryLoad(kind, tried, out nint library, out string path)) throw NotFound(kind, tried);
            (_library, _path) = (library, path);
            _chosen = kind;
        }
    }

    /// <summary>Makes the driver in use ready: cuInit.</summary>
    /// <exception cref="NotSupportedException">An environment variable of the emulated driver has a wrong value; the message says which, and what is allowed.</exception>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public static void Initialize()
    {
        int result = CudaDriver.cuInit(0);
        if (result == InvalidValue && _chosen == CudaDriverKind.Emulated && EmulatorDetail() is { Length: > 0 } problem)
            throw new NotSupportedException($"{problem}.");
        CudaException.Check(result, nameof(CudaDriver.cuInit));
    }

    /// <summary>Counts a driver's devices without choosing it, for listing them. Says why when there are none.</summary>
    public static unsafe int CountDevices(CudaDriverKind kind, out string reason)
    {
        var tried = new List<string>();
        if (!TryLoad(kind, tried, out nint library, out string path))
        {
            reason = NotFound(kind, tried).Message;
            return 0;
        }
        // The library stays loaded: drivers start threads in cuInit.
        var initialise = (delegate* unmanaged<uint, int>)NativeLibrary.GetExport(library, nameof(CudaDriver.cuInit));
        var countDevices = (delegate* unmanaged<int*, int>)NativeLibrary.GetExport(library, nameof(CudaDriver.cuDeviceGetCount));
        int count = 0, result = initialise(0);
        if (result == 0) result = countDevices(&count);
        reason = result == InvalidValue && kind == CudaDriverKind.Emulated ? $"{EmulatorDetail(library)}."
            : result != 0 ? $"{path} is there but finds no usable GPU (CUDA error {result})."
            : count == 0 ? $"{path} is there but finds no GPU." : "";
        return count;
    }

    /// <summary>
    /// The emulated driver's kernel modules: the folder <c>kernels</c> beside its library.
    /// </summary>
    /// <exception cref="InvalidOperationException">The emulated driver is not in use.</exception>
    public static string EmulatedKernelFolder => _chosen == CudaDriverKind.Emulated
        ? System.IO.Path.Combine(System.IO.Path.GetDirectoryName(_path)!, "kernels")
        : throw new InvalidOperationException("The emulated driver is not in use.");

    /// <summary>What the emulated driver, or a library for tests on it, says of its last error; empty on NVIDIA's.</summary>
    internal static string EmulatorDetail() => _chosen == CudaDriverKind.Emulated ? EmulatorDetail(_library) : "";

    private static unsafe string EmulatorDetail(nint emulator)
    {
        var detail = (delegate* unmanaged<byte*, int, int>)NativeLibrary.GetExport(emulator, "kceErrorDetail");
        Span<byte> buffer = stackalloc byte[1024];
        int length;
        fixed (byte* p = buffer) length = detail(p, buffer.Length);
        return Encoding.UTF8.GetString(buffer[..Math.Clamp(length, 0, buffer.Length - 1)]);
    }

    internal static bool HasExport(string name) => NativeLibrary.TryGetExport(_library, name, out _);

    /// <summary>Makes this assembly's imports go through <see cref="Resolve"/>: the static constructor does.</summary>
    internal static void Register() { }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search) => name switch
    {
        Name => _library != 0 ? _library : throw new InvalidOperationException("Choose a driver with CudaLibrary.Use before calling it."),
        NvrtcLibrary.Name => NvrtcLibrary.Handle,
        CublasLt.Name => VendorLibrary.CublasLt.Handle,
        Cudnn.Name => VendorLibrary.Cudnn.Handle,
        _ => 0,
    };

    private static bool TryLoad(CudaDriverKind kind, List<string> tried, out nint library, out string path) =>
        LibrarySearch.TryLoad(kind == CudaDriverKind.Nvidia ? DriverCandidates() : EmulatorCandidates(), tried, out library, out path);

    private static IEnumerable<string> DriverCandidates()
    {
        if (Environment.GetEnvironmentVariable(DriverVariable) is { Length: > 0 } path) return [path];
        return OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"];
    }

    /// <summary>
    /// The override; beside the program; the program's native folder; then <c>build/emulator</c> of the folders above,
    /// which is where a checkout builds it.
    /// </summary>
    private static IEnumerable<string> EmulatorCandidates()
    {
        if (Environment.GetEnvironmentVariable(EmulatorVariable) is { Length: > 0 } path)
        {
            yield return path;
            yield break;
        }
        string home = AppContext.BaseDirectory;
        yield return System.IO.Path.Combine(home, EmulatorFile);
        yield return System.IO.Path.Combine(home, "emulator", EmulatorFile);
        foreach (string folder in CheckoutFolders()) yield return System.IO.Path.Combine(folder, "build", "emulator", EmulatorFile);
    }

    /// <summary>The checkout that the program was built in, if it was.</summary>
    public static IEnumerable<string> CheckoutFolders()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "KernelContrast.sln"))) yield return folder.FullName;
    }

    private static CudaNotFoundException NotFound(CudaDriverKind kind, List<string> tried)
    {
        string paths = string.Join(", ", tried);
        return new(kind == CudaDriverKind.Nvidia
            ? $"No NVIDIA driver: could not load {paths}. Install the driver of your GPU (it brings libcuda.so.1, on Windows nvcuda.dll), or give its path in {DriverVariable}. Without a GPU, use the device cpu, or cuda-emulated to run the CUDA kernels on the CPU."
            : $"No emulated driver: could not load {paths}. Build it with: cmake -S . -B build/emulator && cmake --build build/emulator (g++ on x86-64 Linux), or give its path in {EmulatorVariable}.");
    }

    private static string Describe(CudaDriverKind kind) => kind == CudaDriverKind.Nvidia ? "NVIDIA's driver" : "the emulated driver";
}

/// <summary>The driver library is not there. The message lists every path tried and says how to get it.</summary>
public sealed class CudaNotFoundException(string message) : Exception(message);
