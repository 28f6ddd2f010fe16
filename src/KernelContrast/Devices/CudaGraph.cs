using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// A step that was captured once (<see cref="CudaDevice.Capture"/>) and is replayed with one call, which costs the host a few
/// microseconds however many kernels there are. It owns the memory that the step took while it was captured.
/// </summary>
public sealed unsafe class CudaGraph : IDisposable
{
    private readonly List<nint> _pinned = [];
    private CudaGraphHandle? _handle;
    private bool _isDisposed;

    internal CudaGraph(CudaDevice device) => (Device, Memory) = (device, new(device.Pool));

    /// <summary>The device it runs on.</summary>
    public CudaDevice Device { get; }

    /// <summary>Kernels, copies and fills in it.</summary>
    public int NodeCount => _handle?.NodeCount ?? 0;

    internal CudaGraphMemory Memory { get; }

    /// <summary>
    /// Issues the step to <see cref="CudaDevice.MainStream"/>, with the numbers it was captured with, and returns at once.
    /// Allocates nothing.
    /// </summary>
    /// <exception cref="ObjectDisposedException">It was disposed.</exception>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public void Replay()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        Device.MakeCurrent();
        Device.Epoch++;
        CudaException.Check(CudaDriver.cuGraphLaunch(_handle!.DangerousGetHandle(), Device.Stream));
    }

    /// <summary>Waits for the last replay and gives the memory back; what tensors still hold of it, when they are disposed.</summary>
    public void Dispose()
    {
        if (_isDisposed) return;
        _isDisposed = true;
        _handle?.Dispose();
        // Copies from pinned memory may be under way.
        if (CudaDriver.cuCtxSetCurrent(Device.Context) == 0 && CudaDriver.cuStreamSynchronize(Device.Stream) == 0)
            foreach (nint memory in _pinned) _ = CudaDriver.cuMemFreeHost((void*)memory);
        Memory.Close();
    }

    /// <summary>What the step sends from the host: kept as it is, and sent again by each replay.</summary>
    internal void Send(ulong destination, ReadOnlySpan<byte> source)
    {
        CudaException.Check(CudaDriver.cuMemHostAlloc(out void* memory, (nuint)source.Length, 0), "pinned memory");
        _pinned.Add((nint)memory);
        source.CopyTo(new Span<byte>(memory, source.Length));
        CudaException.Check(CudaDriver.cuMemcpyHtoDAsync_v2(destination, memory, (nuint)source.Length, Device.Stream));
    }

    internal void Complete(CudaGraphHandle handle) => _handle = handle;
}

/// <summary>
/// Memory of a graph's own. While its step is captured all requests are met from here, and all that is returned comes here, for
/// replays will use it again; nobody else gets it until the graph is disposed. Until then it counts as in use.
/// </summary>
/// <remarks>The pool's lock guards it.</remarks>
internal sealed class CudaGraphMemory(CudaMemoryPool pool)
{
    internal Dictionary<long, Stack<nint>> Free { get; } = [];

    /// <summary>Allocations of exact size, which are not given out again.</summary>
    internal List<(nint Pointer, long Bytes)> Exact { get; } = [];

    internal bool IsClosed { get; set; }

    internal void Close() => pool.Close(this);
}

public sealed unsafe partial class CudaDevice
{
    private CudaGraph? _capturing;

    /// <summary>
    /// Changes when what the host remembers of the device's memory no longer holds: a replay writes there too, and a capture must
    /// send again what its replays are to find.
    /// </summary>
    internal long Epoch { get; set; }

    /// <summary>
    /// Captures what a step issues to this device as one graph. The step is called twice and takes effect twice: first as
    /// always, so that kernels are loaded and pools filled, then captured, and the capture is run.
    /// </summary>
    /// <remarks>
    /// A replay repeats the second call with the same addresses and numbers. Tensors that the step reads or writes and did not
    /// make itself must live as long as the graph: put new data into them with <see cref="Tensor.CopyFrom"/>. Numbers that
    /// the host computes, such as a learning rate, the step count in AdamW or a random seed, and what it sends, stay as they
    /// were: a step in which they change is captured again. A tensor that the second call leaves behind holds the values of the
    /// last replay; a step that reads what its last call left behind, a gradient for instance, reads the first call's each time.
    /// While this runs no other thread may use the device.
    /// </remarks>
    /// <param name="step">Issues work; waits for none of it and reads no value.</param>
    /// <exception cref="NotSupportedException">The driver makes no graphs, as the emulated one; the step was not called.</exception>
    /// <exception cref="InvalidOperationException">The step waits for the device or reads a value, or captures itself.</exception>
    /// <exception cref="CudaException">The driver refuses what the step does.</exception>
    public CudaGraph Capture(Action step)
    {
        ArgumentNullException.ThrowIfNull(step);
        RefuseWhileCapturing("Capture");
        MakeCurrent();
        BeginCapture();
        CudaException.Check(CudaDriver.cuStreamEndCapture(Stream, out nint empty));
        CudaException.Check(CudaDriver.cuGraphDestroy(empty));

        step();
        var graph = new CudaGraph(this);
        try
        {
            nint captured = 0;
            MakeCurrent();
            BeginCapture();
            Epoch++;
            _capturing = graph;
            _pool.Capturing = graph.Memory;
            try { step(); }
            finally
            {
                _pool.Capturing = null;
                _capturing = null;
                MakeCurrent();
                int ended = CudaDriver.cuStreamEndCapture(Stream, out captured);
                if (ended != 0) captured = 0;
            }
            if (captured == 0)
                throw new InvalidOperationException("The driver gave the capture up: the step did what cannot be captured, such as work of another stream that it did not wait for.");
            graph.Complete(new CudaGraphHandle(captured));
            graph.Replay();
            return graph;
        }
        catch
        {
            graph.Dispose();
            throw;
        }
    }

    private void BeginCapture()
    {
        int result = CudaDriver.cuStreamBeginCapture_v2(Stream, CudaDriver.CaptureRelaxed);
        if (result == CudaDriver.NotSupported)
            throw new NotSupportedException($"{Name} does not capture graphs. Call the step itself in place of Replay, or use --device cuda.");
        CudaException.Check(result, nameof(CudaDriver.cuStreamBeginCapture_v2));
    }

    private void RefuseWhileCapturing(string what)
    {
        if (_capturing is not null)
            throw new InvalidOperationException($"A step that is captured cannot do this: {what}. Leave it out of the step, and read values after Replay.");
    }
}
