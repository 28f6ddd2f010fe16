using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>A reference to a device's primary context, or a borrowed context.</summary>
public sealed class CudaContextHandle : SafeHandle
{
    private readonly int _device;

    /// <summary>Retains the primary context of a device.</summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public CudaContextHandle(int device) : base(0, ownsHandle: true)
    {
        _device = device;
        CudaException.Check(CudaDriver.cuDevicePrimaryCtxRetain(out nint context, device));
        SetHandle(context);
    }

    /// <summary>Borrows a context that somebody else owns.</summary>
    public CudaContextHandle(nint context) : base(0, ownsHandle: false) => SetHandle(context);

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => CudaDriver.cuDevicePrimaryCtxRelease_v2(_device) == 0;
}

/// <summary>A stream of its own, or a borrowed one.</summary>
public sealed class CudaStreamHandle : SafeHandle
{
    /// <summary>Creates a stream that does not wait for the legacy default stream, in the current context.</summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public CudaStreamHandle() : base(0, ownsHandle: true)
    {
        CudaException.Check(CudaDriver.cuStreamCreate(out nint stream, CudaDriver.StreamNonBlocking));
        SetHandle(stream);
    }

    /// <summary>Borrows a stream that somebody else owns.</summary>
    public CudaStreamHandle(nint stream) : base(0, ownsHandle: false) => SetHandle(stream);

    /// <inheritdoc/>
    public override bool IsInvalid => false; // null is the default stream

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => CudaDriver.cuStreamDestroy_v2(handle) == 0;
}

/// <summary>A loaded module.</summary>
public sealed class CudaModuleHandle : SafeHandle
{
    /// <summary>Loads an image into the current context.</summary>
    /// <exception cref="CudaException">The image does not fit the device or is none.</exception>
    public unsafe CudaModuleHandle(ReadOnlySpan<byte> image) : base(0, ownsHandle: true)
    {
        fixed (byte* p = image)
        {
            CudaException.Check(CudaDriver.cuModuleLoadData(out nint module, p));
            SetHandle(module);
        }
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => CudaDriver.cuModuleUnload(handle) == 0;
}
