using System.Text;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// A GPU through the CUDA driver API, or the emulated driver in its place. Works in the device's primary context, on a
/// stream of its own: memory, copies and kernels all go through that one stream, so they happen in the order of the
/// calls. <see cref="FromContext"/> works in another context and on another stream.
/// </summary>
public sealed unsafe partial class CudaDevice : Device
{
    private static readonly Lock OpenGuard = new();
    private static readonly Dictionary<string, CudaDevice> Opened = [];

    private readonly CudaContextHandle _context;
    private readonly CudaMemoryPool _pool;
    private readonly KernelLibrary _kernels;
    private readonly CudaStaging _staging;

    private readonly bool _isForeign;
    private bool _isDisposed;

    /// <param name="kind">Whose driver.</param>
    /// <param name="ordinal">Which of its devices.</param>
    /// <param name="context">A context to borrow; 0: the primary one.</param>
    /// <param name="stream">A stream to borrow; 0: one of its own.</param>
    private CudaDevice(CudaDriverKind kind, int ordinal, nint context = 0, nint stream = 0)
        : base(context == 0 ? NameOf(kind, ordinal) : $"{NameOf(kind, ordinal)} in context {context:x}{(stream == 0 ? "" : $" on stream {stream:x}")}")
    {
        Kind = kind;
        _isForeign = context != 0;
        UsesVendorLibraries = UsesVendorLibrariesAtFirst(kind);
        CudaException.Check(CudaDriver.cuDeviceGetCount(out int count));
        if (ordinal >= count)
            throw new ArgumentException($"There is no device '{Name}': the driver has {count} GPU{(count == 1 ? "" : "s")}, counted from 0.");
        CudaException.Check(CudaDriver.cuDeviceGet(out int device, ordinal));
        Span<byte> text = stackalloc byte[256];
        fixed (byte* p = text) CudaException.Check(CudaDriver.cuDeviceGetName(p, text.Length, device));
        string gpu = Encoding.UTF8.GetString(text[..text.IndexOf((byte)0)]);
        CudaException.Check(CudaDriver.cuDeviceTotalMem_v2(out nuint memory, device));
        ImageBytesGranted = (long)(memory / 4);
        CudaException.Check(CudaDriver.cuDriverGetVersion(out int version));
        DriverVersion = (version / 1000, version % 1000 / 10);
        if (UsesVendorLibraries) CheckNamedVendorLibraries();
        ComputeCapability = (Attribute(CudaDriver.ComputeCapabilityMajor), Attribute(CudaDriver.ComputeCapabilityMinor));
        HopperKernels = HopperKernelsAtFirst();
        SharedBytesPerBlock = Attribute(CudaDriver.MaxSharedMemoryPerBlockOptin);
        Description = kind == CudaDriverKind.Emulated ? $"{gpu} ({CudaLibrary.Path})"
            : $"{gpu}, compute capability {ComputeCapability.Major}.{ComputeCapability.Minor}, {memory / (double)(1 << 30):F1} GiB, driver for CUDA {DriverVersion.Major}.{DriverVersion.Minor}";

        _context = context == 0 ? new CudaContextHandle(device) : new CudaContextHandle(context);
        MakeCurrent();
        MainStream = new(this, stream == 0 ? new CudaStreamHandle() : new CudaStreamHandle(stream));
        _pool = new CudaMemoryPool(this);
        _kernels = new KernelLibrary(this);
        _staging = new CudaStaging(this);

        int Attribute(int attribute)
        {
            CudaException.Check(CudaDriver.cuDeviceGetAttribute(out int value, attribute, device));
            return value;
        }
    }

    internal static CudaDevice Open(CudaDriverKind kind, int ordinal)
    {
        lock (OpenGuard)
        {
            string name = NameOf(kind, ordinal);
            if (Opened.TryGetValue(name, out CudaDevice? device)) return device;
            CudaLibrary.Use(kind);
            CudaLibrary.Initialize();
            return Opened[name] = new CudaDevice(kind, ordinal);
        }
    }

    internal static string NameOf(CudaDriverKind kind, int ordinal) =>
        kind == CudaDriverKind.Emulated ? "cuda-emulated" : ordinal == 0 ? "cuda" : $"cuda:{ordinal}";

    /// <summary>Whether kernels run on a GPU or on the emulated driver.</summary>
    public CudaDriverKind Kind { get; }

    /// <inheritdoc/>
    public override string Description { get; }

    /// <summary>The GPU's compute capability; 8.0 on the emulated driver, or what <c>KERNELCONTRAST_EMULATOR_CAPABILITY</c> says.</summary>
    public (int Major, int Minor) ComputeCapability { get; }

    /// <summary>The CUDA version that the driver supports.</summary>
    public (int Major, int Minor) DriverVersion { get; }

    /// <summary>Shared memory a block can have, in bytes.</summary>
    public int SharedBytesPerBlock { get; }

    /// <summary>The stream every op of this device is issued to.</summary>
    public CudaStream MainStream { get; }

    /// <summary>The CUstream of <see cref="MainStream"/>.</summary>
    public nint Stream => MainStream.Handle;

    /// <summary>The CUcontext it works in: the device's primary one, unless <see cref="FromContext"/> was given another. It is made current on every thread that calls an op.</summary>
    public nint Context => _context.DangerousGetHandle();

    internal KernelLibrary Kernels => _kernels;

    internal CudaMemoryPool Pool => _pool;

    /// <inheritdoc/>
    public override MemoryStatistics Memory => _pool.Statistics;

    /// <inheritdoc/>
    public override void ResetPeakMemory() => _pool.ResetPeak();

    /// <inheritdoc/>
    public override void ReleaseUnusedMemory() => _pool.Trim();

    /// <inheritdoc/>
    public override void Synchronize()
    {
        MakeCurrent();
        Wait();
    }

    /// <summary>How often somebody waited for the stream.</summary>
    internal long Waits { get; private set; }

    private void Wait()
    {
        RefuseWhileCapturing("wait for the device");
        Waits++;
        CudaException.Check(CudaDriver.cuStreamSynchronize(Stream));
    }

    /// <summary>Before every driver call: contexts are current per thread, and other libraries change them too.</summary>
    internal void MakeCurrent()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        CudaException.Check(CudaDriver.cuCtxSetCurrent(Context));
    }

    internal override bool ComputesInBFloat16 => true;

    internal override bool ComputesInTf32 => true;

    internal override DeviceBuffer Allocate(long bytes) => new CudaBuffer(this, _pool.Rent(bytes, out long reserved, out CudaGraphMemory? graph), bytes, reserved, graph);

    internal override bool RunsBehind => true;

    /// <summary>A quarter of the device's memory, unless a test sets it.</summary>
    internal override long ImageBudget => ImageBytesGranted;

    internal long ImageBytesGranted { get; set; }

    internal override void CopyFromHost(DeviceBuffer destination, ReadOnlySpan<byte> source) => Upload(destination, source);

    internal override void Upload(DeviceBuffer destination, ReadOnlySpan<byte> source, long offset = 0)
    {
        if (source.IsEmpty) return;
        MakeCurrent();
        ulong to = (ulong)(destination.Pointer + (nint)offset);
        if (_capturing is { } graph) graph.Send(to, source);
        else _staging.Copy(to, source);
        GC.KeepAlive(destination);
    }

    internal override void CopyToHost(Span<byte> destination, DeviceBuffer source)
    {
        if (destination.IsEmpty) return;
        RefuseWhileCapturing("read a value of the device (ToArray, Item)");
        MakeCurrent();
        fixed (byte* to = destination)
        {
            CudaException.Check(CudaDriver.cuMemcpyDtoHAsync_v2(to, (ulong)source.Pointer, (nuint)destination.Length, Stream));
            Wait();
        }
    }

    internal override void Copy(DeviceBuffer destination, DeviceBuffer source, long bytes)
    {
        if (bytes == 0) return;
        MakeCurrent();
        CudaException.Check(CudaDriver.cuMemcpyDtoDAsync_v2((ulong)destination.Pointer, (ulong)source.Pointer, (nuint)bytes, Stream));
    }

    internal override void Clear(DeviceBuffer buffer, long bytes)
    {
        if (bytes == 0) return;
        MakeCurrent();
        CudaException.Check(CudaDriver.cuMemsetD8Async((ulong)buffer.Pointer, 0, (nuint)bytes, Stream));
    }

    internal override TKernels Pick<TKernels, TCpu, TCuda>() => Instance<TCuda>.Value;

    internal override TKernels Pick<TKernels, TCpu>()
    {
        // The kernels of op X are XOp.Kernels.
        string op = typeof(TKernels).DeclaringType?.Name ?? typeof(TKernels).Name;
        if (op.EndsWith("Op", StringComparison.Ordinal)) op = op[..^2];
        throw new NotSupportedException($"{op} runs on cpu only as yet, and was asked to run on {Name}. Move its inputs with To(Device.Cpu), or use --device cpu.");
    }

    private static class Instance<T> where T : new()
    {
        internal static readonly T Value = new();
    }

    private sealed class CudaBuffer(CudaDevice device, nint pointer, long bytes, long reserved, CudaGraphMemory? graph) : DeviceBuffer(device, pointer, bytes)
    {
        private protected override void Free(nint pointer) => ((CudaDevice)Device)._pool.Return(pointer, Bytes, reserved, graph);
    }
}
