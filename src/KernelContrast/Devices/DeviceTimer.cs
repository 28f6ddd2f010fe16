using System.Diagnostics;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Times work by the device's own clock: events in the stream on CUDA, so that what the host does after issuing the work
/// does not count; the host's clock on the CPU. On the emulated driver events take the host's time.
/// </summary>
public sealed class DeviceTimer : IDisposable
{
    // Beyond the largest level-2 cache of a GPU (50 MB of an H100) or what a processor's core has to itself.
    private const long FlushBytes = 256L << 20;

    private readonly Device _device;
    private readonly CudaEventHandle? _from, _to;
    private DeviceBuffer? _flush;

    /// <summary>A timer of a device.</summary>
    public DeviceTimer(Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device;
        if (device is not CudaDevice cuda) return;
        cuda.MakeCurrent();
        (_from, _to) = (new(), new());
    }

    /// <summary>Milliseconds that <paramref name="work"/> takes once everything issued before is done; waits for it.</summary>
    /// <param name="work">Issues work to the device.</param>
    /// <param name="cold">Whether the device's caches are overwritten first.</param>
    public double Milliseconds(Action work, bool cold = false)
    {
        if (cold) _device.Clear(_flush ??= _device.Allocate(FlushBytes), FlushBytes);
        _device.Synchronize();
        if (_device is not CudaDevice cuda)
        {
            long start = Stopwatch.GetTimestamp();
            work();
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
        nint from = _from!.DangerousGetHandle(), to = _to!.DangerousGetHandle();
        CudaException.Check(CudaDriver.cuEventRecord(from, cuda.Stream));
        work();
        cuda.MakeCurrent();
        CudaException.Check(CudaDriver.cuEventRecord(to, cuda.Stream));
        CudaException.Check(CudaDriver.cuEventSynchronize(to));
        CudaException.Check(CudaDriver.cuEventElapsedTime(out float milliseconds, from, to));
        return milliseconds;
    }

    /// <summary>Releases events and memory.</summary>
    public void Dispose()
    {
        _from?.Dispose();
        _to?.Dispose();
        _flush?.Release();
    }
}
