using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast;

public abstract partial class Device
{
    private const string Names = "cpu, cuda, cuda:N (N counts from 0) or cuda-emulated";

    /// <summary>
    /// The device of a name: <c>cpu</c>; <c>cuda</c> or <c>cuda:N</c>, the first or N-th GPU of NVIDIA's driver;
    /// <c>cuda-emulated</c>, the same kernels on the emulated driver. The same name gives the same device. A process
    /// uses one CUDA driver, and one is never taken for the other.
    /// </summary>
    /// <exception cref="ArgumentException">There is no such name.</exception>
    /// <exception cref="CudaNotFoundException">The driver is not there; the message says what was tried and what to do.</exception>
    /// <exception cref="InvalidOperationException">The process already uses the other CUDA driver.</exception>
    /// <exception cref="CudaException">The driver has no such GPU, or refuses it.</exception>
    /// <exception cref="NotSupportedException">An environment variable for the device has a value that it cannot have, or names a library that does not load.</exception>
    public static Device Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        switch (name)
        {
            case "cpu": return Cpu;
            case "cuda": return CudaDevice.Open(CudaDriverKind.Nvidia, 0);
            case "cuda-emulated": return CudaDevice.Open(CudaDriverKind.Emulated, 0);
        }
        if (name.StartsWith("cuda:", StringComparison.Ordinal) &&
            int.TryParse(name.AsSpan(5), System.Globalization.NumberStyles.None, null, out int ordinal))
            return CudaDevice.Open(CudaDriverKind.Nvidia, ordinal);
        throw new ArgumentException($"There is no device '{name}'. Devices are {Names}.");
    }

    /// <summary>What <see cref="Parse"/> can open here, and why not where it cannot. Opens nothing.</summary>
    public static IReadOnlyList<DeviceDescription> Available()
    {
        var devices = new List<DeviceDescription> { new("cpu", Cpu.Description, null) };
        int gpus = CudaLibrary.CountDevices(CudaDriverKind.Nvidia, out string reason);
        if (gpus == 0) devices.Add(new("cuda", "NVIDIA GPU", reason));
        for (int i = 0; i < gpus; i++) devices.Add(new(CudaDevice.NameOf(CudaDriverKind.Nvidia, i), $"NVIDIA GPU {i}", null));
        bool emulator = CudaLibrary.CountDevices(CudaDriverKind.Emulated, out reason) > 0;
        devices.Add(new("cuda-emulated", "the CUDA kernels on the CPU, for tests", emulator ? null : reason));
        return devices;
    }

    /// <summary>What the device is, in words.</summary>
    public abstract string Description { get; }
}

/// <summary>A device that might be opened.</summary>
/// <param name="Name">As <see cref="Device.Parse"/> takes it.</param>
/// <param name="Description">What it is.</param>
/// <param name="Problem">Null when it can be opened; else why not and what to do.</param>
public sealed record DeviceDescription(string Name, string Description, string? Problem);
