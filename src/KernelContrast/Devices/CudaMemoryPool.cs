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

    /// <summary>For memory that is returned before a capture that it was rented in ends.</summary>
    internal nint Rent(long bytes, out long reserved) => Rent(bytes, out reserved, out _);

    /// <param name="bytes">Bytes asked for.</param>
    /// <param name="reserved">The size class; 0 for an allocation of exact size. To be given to <see cref="Return"/>, as is:</param>
    /// <param name="graph">Whose memory it is, when a graph is captured.</param>
    internal nint Rent(long bytes, out long reserved, out CudaGraphMemory? graph)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        nint pointer = 0;
        bool live = false;
        long size;
        lock (_lock)
        {
            graph = Capturing;
            reserved = Exact && graph is null ? 0 : SizeClass(bytes);
            size = reserved == 0 ? Math.Max(bytes, 1) : reserved;
            if (reserved != 0 && (graph?.Free ?? _free).TryGetValue(reserved, out Stack<nint>? stack) && stack.TryPop(out pointer))
            {
                live = graph is not null;
                if (!live) _pooled -= size;
            }
        }
        if (pointer == 0) pointer = AllocateOrTrim(size);
        lock (_lock)
        {
            _requests++;
            if (!live) _live += size;
            _peak = Math.Max(_peak, _live);
        }
        return pointer;
    }

    /// <summary>Never throws: finalizers and Dispose end here.</summary>
    internal void Return(nint pointer, long bytes, long reserved, CudaGraphMemory? graph = null)
    {
        lock (_lock)
        {
            if (Capturing is { } capturing) graph = capturing;
            if (graph is { IsClosed: false })
            {
                if (reserved == 0) graph.Exact.Add((pointer, bytes));
                else Push(graph.Free, reserved, pointer);
                return;
            }
        }
        if (reserved == 0)
        {
            Free(pointer);
            lock (_lock) _live -= Math.Max(bytes, 1);
            return;
        }
        lock (_lock)
        {
            Push(_free, reserved, pointer);
            _live -= reserved;
            _pooled += reserved;
        }
    }

    /// <summary>While set, memory is taken from there and returned there.</summary>
    internal CudaGraphMemory? Capturing { get; set { lock (_lock) field = value; } }

    /// <summary>Pools a graph's memory; what its tensors still hold, when it is returned.</summary>
    internal void Close(CudaGraphMemory graph)
    {
        lock (_lock)
        {
            graph.IsClosed = true;
            foreach ((long size, Stack<nint> stack) in graph.Free)
                foreach (nint pointer in stack)
                {
                    Push(_free, size, pointer);
                    _live -= size;
                    _pooled += size;
                }
            graph.Free.Clear();
        }
        foreach ((nint pointer, long bytes) in graph.Exact) Return(pointer, bytes, reserved: 0, graph);
        graph.Exact.Clear();
    }

    private static void Push(Dictionary<long, Stack<nint>> free, long size, nint pointer)
    {
        if (!free.TryGetValue(size, out Stack<nint>? stack)) free[size] = stack = new();
        stack.Push(pointer);
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
