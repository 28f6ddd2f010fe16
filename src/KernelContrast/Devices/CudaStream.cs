using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// A stream of a CUDA device: what is issued to it runs in the order it was issued. Between streams nothing is ordered but
/// what an event orders. Ops of tensors go to <see cref="CudaDevice.MainStream"/>.
/// </summary>
public sealed class CudaStream : IDisposable
{
    private readonly CudaStreamHandle _handle;
    private CudaEventHandle? _reached; // for others that wait for this stream

    /// <summary>Creates a stream that does not wait for the legacy default stream.</summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public CudaStream(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        device.MakeCurrent();
        (Device, _handle) = (device, new());
    }

    internal CudaStream(CudaDevice device, CudaStreamHandle handle) => (Device, _handle) = (device, handle);

    /// <summary>
    /// A stream of somebody else's under this type: never destroyed here, and to be left alone once its owner destroyed it.
    /// 0 is the legacy default stream, on which every blocking stream of the context waits.
    /// </summary>
    /// <param name="device">Whose context the stream belongs to.</param>
    /// <param name="stream">A CUstream, or a runtime's cudaStream_t, which is the same.</param>
    public static CudaStream Wrap(CudaDevice device, nint stream)
    {
        ArgumentNullException.ThrowIfNull(device);
        return new(device, new(stream));
    }

    /// <summary>The device it belongs to.</summary>
    public CudaDevice Device { get; }

    /// <summary>The CUstream, for other libraries. It lives as long as this object.</summary>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    public nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
            return _handle.DangerousGetHandle();
        }
    }

    /// <summary>Whether all that was issued so far has finished. Does not wait.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public bool IsIdle
    {
        get
        {
            Device.MakeCurrent();
            return CudaEvent.IsReady(CudaDriver.cuStreamQuery(Handle), nameof(CudaDriver.cuStreamQuery));
        }
    }

    /// <summary>Waits, on the host, until all that was issued so far has finished.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public void Synchronize()
    {
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuStreamSynchronize(Handle));
    }

    /// <summary>
    /// What is issued here from now on runs after what <paramref name="other"/> was given so far; the host does not wait.
    /// </summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public void WaitFor(CudaStream other)
    {
        ArgumentNullException.ThrowIfNull(other);
        other.Device.MakeCurrent();
        other._reached ??= new(timed: false);
        nint reached = other._reached.DangerousGetHandle();
        CudaException.Check(CudaDriver.cuEventRecord(reached, other.Handle));
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuStreamWaitEvent(Handle, reached, 0));
        GC.KeepAlive(other);
    }

    /// <summary>What is issued here from now on runs after the work before the event's last <see cref="CudaEvent.Record"/>; the host does not wait.</summary>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public void WaitFor(CudaEvent recorded)
    {
        ArgumentNullException.ThrowIfNull(recorded);
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuStreamWaitEvent(Handle, recorded.Handle, 0));
        GC.KeepAlive(recorded);
    }

    /// <summary>Destroys the stream once its work has finished, without waiting for it; a wrapped one is left as it is.</summary>
    public void Dispose()
    {
        _handle.Dispose();
        _reached?.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => _handle.IsClosed ? $"stream of {Device} (disposed)" : $"stream {Handle:x} of {Device}";
}

/// <summary>A mark in a stream: streams and the host can wait for the work before it, and two tell the time between them.</summary>
/// <param name="device">Whose streams it will be recorded in.</param>
/// <param name="timed">Whether <see cref="MillisecondsSince"/> will be asked; an event that only orders work costs less.</param>
/// <exception cref="CudaException">The driver refuses.</exception>
public sealed class CudaEvent(CudaDevice device, bool timed = false) : IDisposable
{
    private readonly CudaEventHandle _handle = Create(device, timed);

    /// <summary>The device it belongs to.</summary>
    public CudaDevice Device { get; } = device;

    /// <summary>The CUevent, for other libraries. It lives as long as this object.</summary>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    public nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
            return _handle.DangerousGetHandle();
        }
    }

    /// <summary>Whether the work before the last <see cref="Record"/> has finished; true before the first. Does not wait.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public bool IsReached
    {
        get
        {
            Device.MakeCurrent();
            return IsReady(CudaDriver.cuEventQuery(Handle), nameof(CudaDriver.cuEventQuery));
        }
    }

    /// <summary>Moves the mark behind what the stream was given so far.</summary>
    /// <exception cref="CudaException">The stream is of another device.</exception>
    public void Record(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuEventRecord(Handle, stream.Handle));
    }

    /// <summary>Waits, on the host, for the work before the last <see cref="Record"/>.</summary>
    /// <exception cref="CudaException">Some of it failed.</exception>
    public void Synchronize()
    {
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuEventSynchronize(Handle));
    }

    /// <summary>Time from an earlier event to this one, by the device's clock, in milliseconds. Both are timed and reached.</summary>
    /// <exception cref="CudaException">One is not timed, was not recorded, or is not reached yet.</exception>
    public double MillisecondsSince(CudaEvent earlier)
    {
        ArgumentNullException.ThrowIfNull(earlier);
        Device.MakeCurrent();
        CudaException.Check(CudaDriver.cuEventElapsedTime(out float milliseconds, earlier.Handle, Handle));
        return milliseconds;
    }

    /// <summary>Destroys the event; who waits for it already goes on waiting.</summary>
    public void Dispose() => _handle.Dispose();

    internal static bool IsReady(int result, string call)
    {
        if (result == CudaDriver.NotReady) return false;
        CudaException.Check(result, call);
        return true;
    }

    private static CudaEventHandle Create(CudaDevice device, bool timed)
    {
        ArgumentNullException.ThrowIfNull(device);
        device.MakeCurrent();
        return new(timed);
    }
}
