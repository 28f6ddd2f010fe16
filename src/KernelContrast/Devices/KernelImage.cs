using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>Finds the image of a kernel module that a device can load.</summary>
internal static class KernelImage
{
    /// <param name="device">For its driver and compute capability.</param>
    /// <param name="module">The kernel file below <c>kernels/</c>, without its ending.</param>
    /// <param name="isChecked">On the emulated driver: the module whose every access to memory is checked.</param>
    /// <exception cref="NotSupportedException">There is no image for a GPU of this kind.</exception>
    /// <exception cref="FileNotFoundException">The emulated driver was built without this kernel.</exception>
    internal static byte[] Find(CudaDevice device, string module, bool isChecked) => device.Kind == CudaDriverKind.Emulated
        ? Emulated(module, isChecked)
        : throw new NotSupportedException(
            $"There is no image of kernel module '{module}' for compute capability {device.ComputeCapability.Major}.{device.ComputeCapability.Minor}: this version carries its CUDA kernels for the emulated driver only. Use --device cpu, or cuda-emulated.");

    private static byte[] Emulated(string module, bool isChecked)
    {
        string path = Path.Combine(CudaLibrary.EmulatedKernelFolder, module.Replace('/', '.') + (isChecked ? ".checked.so" : ".so"));
        return File.Exists(path) ? File.ReadAllBytes(path) : throw new FileNotFoundException(
            $"The emulated driver has no kernel module '{module}': {path} is missing. Build it with: cmake -S . -B build/emulator && cmake --build build/emulator.");
    }
}
