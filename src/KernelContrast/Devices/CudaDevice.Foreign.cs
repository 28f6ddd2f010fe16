using KernelContrast.Interop;

namespace KernelContrast.Devices;

// Other CUDA libraries of the process: their memory, streams and contexts in, ours out. See docs/interop.md.
public sealed unsafe partial class CudaDevice : IDisposable
{
    /// <summary>What kernels assume of a tensor's address: loads of 16 bytes.</summary>
    private const int TensorAlignment = 16;

    /// <summary>
    /// The device in a context of somebody else's, which stays theirs: its memory can be wrapped, and ops go to
    /// <paramref name="stream"/>. The primary context without a stream is the device <see cref="Device.Parse"/> gives. Call it
    /// once and keep the result: each call gives a device with a pool and kernels of its own.
    /// </summary>
    /// <param name="context">A CUcontext: of ManagedCuda, ILGPU or cuCtxGetCurrent.</param>
    /// <param name="stream">A CUstream of that context for every op, 1 for the legacy default stream; 0: one of our own.</param>
    /// <exception cref="ArgumentException">The context is null.</exception>
    /// <exception cref="CudaNotFoundException">There is no driver.</exception>
    /// <exception cref="CudaException">The driver does not know the context.</exception>
    public static CudaDevice FromContext(nint context, nint stream = 0)
    {
        if (context == 0)
            throw new ArgumentException("The context is null, and the device of none is unknown. Give the CUcontext that your memory is in, or use Device.Parse(\"cuda\") for the primary context.");
        lock (OpenGuard)
        {
            CudaDriverKind kind = CudaLibrary.Kind ?? CudaDriverKind.Nvidia;
            CudaLibrary.Use(kind);
            CudaLibrary.Initialize();
            int ordinal = OrdinalOf(context);
            return stream == 0 && IsPrimary(context, ordinal) ? Open(kind, ordinal) : new(kind, ordinal, context, stream);
        }
    }

    /// <summary>
    /// A tensor over memory of somebody else's, which is neither copied nor ever freed here. It must live, and its content be
    /// in place on <see cref="MainStream"/>, as long as the tensor is used: let that stream wait for the one that writes it.
    /// </summary>
    /// <param name="pointer">The CUdeviceptr, in this device's context, on a multiple of 16 bytes.</param>
    /// <param name="shape">Its sizes; elements are dense, row-major, and of rank 4 channels-innermost (N, H, W, C).</param>
    /// <param name="type">Its elements' type.</param>
    /// <exception cref="ArgumentException">The address is null or misaligned, or there is no such type.</exception>
    public Tensor Wrap(nint pointer, Shape shape, DType type = DType.Float32)
    {
        if (!Enum.IsDefined(type)) throw new ArgumentException($"There is no type {type}; tensors are of {string.Join(", ", Enum.GetNames<DType>())}.");
        if (pointer == 0) throw new ArgumentException($"The address of the {type} tensor of shape {shape} is null.");
        if (pointer % TensorAlignment != 0)
            throw new ArgumentException(
                $"The {type} tensor of shape {shape} is at {pointer:x}, and kernels read {TensorAlignment} bytes at a time. Copy it to an address that is a multiple of {TensorAlignment}; allocations of the driver are.");
        return new(new ForeignBuffer(this, pointer, shape.Count * type.Size()), shape, type);
    }

    /// <summary>
    /// The CUdeviceptr of a tensor's elements, for other libraries: dense, row-major, of rank 4 channels-innermost. It is
    /// good until the tensor is disposed; its content is in place once <see cref="MainStream"/> has got there.
    /// </summary>
    /// <param name="tensor">A tensor on this device.</param>
    /// <param name="type">What its elements will be read as.</param>
    /// <exception cref="ArgumentException">The tensor is on another device, or of another type.</exception>
    public nint AddressOf(Tensor tensor, DType type = DType.Float32)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.Device != this) throw new ArgumentException($"The tensor is on {tensor.Device}, not on {this}. Move it with To.");
        if (tensor.Type != type) throw new ArgumentException($"The tensor holds {tensor.Type}, and its address was asked for as one of {type}.");
        return tensor.Pointer;
    }

    /// <summary>
    /// Of a device in a foreign context: gives back all that it has there, and ends it; memory of tensors that are still alive
    /// is left to the context. Call it before the context is destroyed. A device of <see cref="Device.Parse"/> belongs to the
    /// process, and nothing happens.
    /// </summary>
    public void Dispose()
    {
        if (!_isForeign || _isDisposed) return;
        // Nobody frees what kernels still use.
        if (CudaDriver.cuCtxSetCurrent(Context) == 0) _ = CudaDriver.cuStreamSynchronize(Stream);
        _pool.Close();
        _staging.Dispose();
        _kernels.Dispose();
        _products?.Dispose();
        _convolutions?.Dispose();
        MainStream.Dispose();
        _isDisposed = true;
    }

    private static int OrdinalOf(nint context)
    {
        CudaException.Check(CudaDriver.cuCtxGetCurrent(out nint before));
        CudaException.Check(CudaDriver.cuCtxSetCurrent(context));
        int found = CudaDriver.cuCtxGetDevice(out int device);
        CudaException.Check(CudaDriver.cuCtxSetCurrent(before));
        CudaException.Check(found, nameof(CudaDriver.cuCtxGetDevice));
        CudaException.Check(CudaDriver.cuDeviceGetCount(out int count));
        for (int ordinal = 0; ordinal < count; ordinal++)
        {
            CudaException.Check(CudaDriver.cuDeviceGet(out int other, ordinal));
            if (other == device) return ordinal;
        }
        throw new ArgumentException($"The context is of a device that is none of the driver's {count}.");
    }

    private static bool IsPrimary(nint context, int ordinal)
    {
        CudaException.Check(CudaDriver.cuDeviceGet(out int device, ordinal));
        CudaException.Check(CudaDriver.cuDevicePrimaryCtxGetState(device, out _, out int active));
        if (active == 0) return false; // to ask for it would make it
        using var primary = new CudaContextHandle(device);
        return primary.DangerousGetHandle() == context;
    }

    private sealed class ForeignBuffer : DeviceBuffer
    {
        // The second reference is the owner's: no op may take the memory for its own, and it is never freed.
        internal ForeignBuffer(CudaDevice device, nint pointer, long bytes) : base(device, pointer, bytes)
        {
            GC.SuppressFinalize(this);
            Retain();
        }

        private protected override void Free(nint pointer) { }
    }
}
