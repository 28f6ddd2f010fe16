using System.Text;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Finds the image of a kernel module that a device can load: for a GPU one built ahead by nvcc (<c>./build.sh
/// kernels</c>), else one of the cache, else the sources are compiled by NVRTC.
/// </summary>
internal static class KernelImage
{
    /// <summary>Environment variable with the folder of images built ahead, in place of the usual ones.</summary>
    internal const string FolderVariable = "KERNELCONTRAST_KERNELS";

    // Of nvcc's build, in the last line: the file's sources. An image of other sources is not this library's.
    private const string Stamp = "// sources-sha256:";

    /// <param name="device">For its driver and compute capability.</param>
    /// <param name="module">The kernel file below <c>kernels/</c>, without its ending.</param>
    /// <param name="isChecked">On the emulated driver: the module whose every access to memory is checked.</param>
    /// <exception cref="NotSupportedException">There is no image for a GPU of this kind.</exception>
    /// <exception cref="CudaNotFoundException">No image was built ahead and there is no NVRTC; the message says what to do.</exception>
    /// <exception cref="NvrtcException">The sources do not compile.</exception>
    /// <exception cref="FileNotFoundException">There is no such kernel file, or the emulated driver was built without it.</exception>
    internal static byte[] Find(CudaDevice device, string module, bool isChecked) => device.Kind == CudaDriverKind.Emulated
        ? Emulated(module, isChecked)
        : ForGpu(module, device.ComputeCapability, device.DriverVersion.Major, ImageFolders(), KernelCache.OfUser);

    /// <summary>The image for a GPU of a compute capability.</summary>
    internal static byte[] ForGpu(string module, (int Major, int Minor) capability, int driverMajor, IEnumerable<string> folders, KernelCache cache)
    {
        CheckCapability(capability);
        if (folders.Select(folder => BuiltAhead(folder, module, capability)).FirstOrDefault(i => i is not null) is { } ahead) return ahead;
        NvrtcLibrary.Use(driverMajor);
        string target = KernelCompiler.TargetFor(capability, Nvrtc.SupportedArchitectures(), KernelSources.Text(module));
        string name = NameOf(module, target), key = KernelCompiler.KeyOf(module, target);
        if (cache.Find(name, key) is { } kept) return kept;
        byte[] image = KernelCompiler.Compile(module, target, out _);
        cache.Keep(name, key, image);
        return image;
    }

    /// <summary>An image's file: <c>nn.relu.sm_80.cubin</c>, <c>nn.relu.compute_90.ptx</c>.</summary>
    internal static string NameOf(string module, string target) =>
        $"{module.Replace('/', '.')}.{target}.{(target.StartsWith("sm_", StringComparison.Ordinal) ? "cubin" : "ptx")}";

    /// <exception cref="NotSupportedException">The GPU is older than the kernels demand.</exception>
    internal static void CheckCapability((int Major, int Minor) capability)
    {
        if (capability.Major < 8)
            throw new NotSupportedException(
                $"The kernels need a GPU of compute capability 8.0 or newer (Ampere), this one has {capability.Major}.{capability.Minor}. Use --device cpu.");
    }

    // Cubins run on their architecture and later ones of the same major number, those of sm_90a on 9.0 alone; PTX on all
    // later ones.
    private static byte[]? BuiltAhead(string folder, string module, (int Major, int Minor) capability)
    {
        int wanted = 10 * capability.Major + capability.Minor;
        IEnumerable<string> targets = wanted == 90 ? ["sm_90a"] : [];
        targets = targets.Concat(from arch in Down(wanted, 10 * capability.Major) select $"sm_{arch}");
        targets = targets.Concat(from arch in Down(wanted, 80) select $"compute_{arch}");
        foreach (string path in targets.Select(target => Path.Combine(folder, NameOf(module, target))).Where(File.Exists))
        {
            byte[] file = File.ReadAllBytes(path);
            byte[] stamp = Encoding.ASCII.GetBytes(Stamp + KernelSources.HashOf(module));
            int at = file.AsSpan().LastIndexOf(stamp);
            if (at < 0) continue;
            file[at] = 0; // ends the PTX; nothing to a cubin, whose sections say where they are
            return file;
        }
        return null;

        static IEnumerable<int> Down(int from, int to) => Enumerable.Range(0, from - to + 1).Select(i => from - i);
    }

    /// <summary>The folder of the variable; else <c>kernels</c> beside the program and a checkout's build.</summary>
    /// <exception cref="NotSupportedException">The variable's is no folder.</exception>
    internal static IEnumerable<string> ImageFolders() => Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder
        ? Directory.Exists(folder) ? [folder] : throw new NotSupportedException(
            $"{FolderVariable}={folder}: there is no such folder; expected the one of './build.sh kernels', or unset it to compile kernels at first use.")
        : [Path.Combine(AppContext.BaseDirectory, "kernels"), .. CudaLibrary.CheckoutFolders().Select(checkout => Path.Combine(checkout, "build", "kernels"))];

    private static byte[] Emulated(string module, bool isChecked)
    {
        string path = Path.Combine(CudaLibrary.EmulatedKernelFolder, module.Replace('/', '.') + (isChecked ? ".checked.so" : ".so"));
        return File.Exists(path) ? File.ReadAllBytes(path) : throw new FileNotFoundException(
            $"The emulated driver has no kernel module '{module}': {path} is missing. Build it with: cmake -S . -B build/emulator && cmake --build build/emulator.");
    }
}
