using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

public static unsafe partial class CudaDriver
{
    /// <summary>Milliseconds between two events that were recorded and have happened, by the device's clock.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventElapsedTime(out float milliseconds, nint from, nint to);
}

/// <summary>An event.</summary>
public sealed class CudaEventHandle : SafeHandle
{
    /// <summary>Creates an event in the current context.</summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    /// <param name="timed">Whether its time is kept; one that only orders work is cheaper.</param>
    public CudaEventHandle(bool timed = true) : base(0, ownsHandle: true)
    {
        CudaException.Check(CudaDriver.cuEventCreate(out nint created, timed ? 0 : CudaDriver.EventDisableTiming));
        SetHandle(created);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => CudaDriver.cuEventDestroy_v2(handle) == 0;
}
