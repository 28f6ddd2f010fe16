namespace KernelContrast.Devices;

/// <summary>
/// A block of device memory shared by the tensors, views and saved activations that look at it. The last
/// <see cref="Release"/> hands it back to its device's pool; the finalizer does so for blocks nobody released.
/// </summary>
internal abstract class DeviceBuffer(Device device, nint pointer, long bytes)
{
    private int _references = 1;

    internal Device Device { get; } = device;

    /// <summary>Address on the device; 64-byte aligned (256 on CUDA).</summary>
    internal nint Pointer { get; private set; } = pointer;

    internal long Bytes { get; } = bytes;

    /// <summary>True when exactly one owner is left, so that the content may be overwritten in place.</summary>
    internal bool IsExclusive => Volatile.Read(ref _references) == 1;

    internal DeviceBuffer Retain()
    {
        if (Interlocked.Increment(ref _references) <= 1)
            throw new ObjectDisposedException(nameof(Tensor), "This tensor's memory was already released.");
        return this;
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) != 0) return;
        GC.SuppressFinalize(this);
        Return();
    }

    /// <summary>Puts the memory back into the pool. Called once.</summary>
    private protected abstract void Free(nint pointer);

    private void Return()
    {
        nint pointer = Pointer;
        Pointer = 0;
        if (pointer != 0) Free(pointer);
    }

    ~DeviceBuffer() => Return();
}
