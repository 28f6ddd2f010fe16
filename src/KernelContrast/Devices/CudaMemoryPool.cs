using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Device memory kept for reuse, in size classes of at most 12.5 % slack. Everything a device does goes through one
/// stream, so memory handed back may be given out at once: its next user runs after its last.
/// </summary>
internal sealed class CudaMemoryPool(CudaDevice device)
{
    private const int Alignment = 256;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, Stack<nint>> _free = [];
    private long _live, _pooled, _peak, _requests, _allocations;
    private bool _closed;

    /// <summary>
    /// Gives every buffer an allocation of its own and exact size, so that the emulated driver and compute-sanitizer see
    /// each bound, and fresh memory stays as the driver gives it (NaN on the emulated one). The op cases run with it.
    /// </summary>
    internal bool Exact { get; set; }

    internal MemoryStatistics Statistics
    {
        get { lock (_lock) return new(_live, _pooled, _peak, _requests, _allocations); }
    }

    /// <param name="bytes">Bytes asked for.</param>
    /// <param name="reserved">The size class; 0 for an allocation of exact size. To be given to <see cref="Return"/>.</param>
    internal nint Rent(long bytes, out long reserved)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        reserved = Exact ? 0 : SizeClass(bytes);
        long size = reserved == 0 ? Math.Max(bytes, 1) : reserved;
        nint pointer = 0;
        lock (_lock)
        {
            if (reserved != 0 && _free.TryGetValue(reserved, out Stack<nint>? stack) && stack.TryPop(out pointer)) _pooled -= size;
        }
        if (pointer == 0) pointer = AllocateOrTrim(size);
        lock (_lock)
        {
            _requests++;
            _live += size;
            _peak = Math.Max(_peak, _live);
        }
        return pointer;
    }

    /// <summary>Never throws: finalizers and Dispose end here.</summary>
    internal void Return(nint pointer, long bytes, long reserved)
    {
        if (reserved == 0)
        {
            Free(pointer);
            lock (_lock) _live -= Math.Max(bytes, 1);
            return;
        }
        lock (_lock)
        {
            if (!_free.TryGetValue(reserved, out Stack<nint>? stack)) _free[reserved] = stack = new();
            stack.Push(pointer);
            _live -= reserved;
            _pooled += reserved;
        }
    }

    internal void ResetPeak()
    {
        lock (_lock) _peak = _live;
    }

    /// <summary>Frees what is pooled; what is returned later is left to the context.</summary>
    internal void Close()
    {
        Trim();
        lock (_lock) _closed = true;
    }

    internal void Trim()
    {
        lock (_lock)
        {
            foreach (Stack<nint> stack in _free.Values)
                while (stack.TryPop(out nint pointer)) Free(pointer);
            _free.Clear();
            _pooled = 0;
        }
    }

    private nint AllocateOrTrim(long size)
    {
        device.MakeCurrent();
        int result = CudaDriver.cuMemAlloc_v2(out ulong address, (nuint)size);
        if (result == CudaDriver.OutOfMemory)
        {
            Trim();
            result = CudaDriver.cuMemAlloc_v2(out address, (nuint)size);
            if (result == CudaDriver.OutOfMemory)
                throw new InsufficientMemoryException(
                    $"{device} has no {size:N0} bytes left; {Statistics.LiveBytes:N0} bytes are in use by tensors. Use a smaller batch or dispose tensors earlier (TensorScope).");
        }
        CudaException.Check(result, "cuMemAlloc");
        lock (_lock) _allocations++;
        return (nint)address;
    }

    // A device that failed cannot free any more, and says so at the next call that can report it.
    private void Free(nint pointer)
    {
        if (!_closed && CudaDriver.cuCtxSetCurrent(device.Context) == 0) _ = CudaDriver.cuMemFree_v2((ulong)pointer);
    }

    /// <summary>Rounds up to a multiple of 1/8 of the power of two below, and to 256 bytes.</summary>
    private static long SizeClass(long bytes)
    {
        long size = Math.Max(bytes, Alignment);
        long step = Math.Max(Alignment, 1L << Math.Max(0, 60 - System.Numerics.BitOperations.LeadingZeroCount((ulong)size)));
        return (size + step - 1) / step * step;
    }
}
