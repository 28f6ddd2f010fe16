using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// A kernel of <c>kernels/</c> by name: <c>new("nn/softmax", "softmax_forward")</c>. Ops keep theirs in static
/// fields; it is found on a device at its first launch there.
/// </summary>
internal sealed unsafe class CudaKernel
{
    private static readonly Lock Guard = new();
    private static readonly List<CudaKernel> Created = [];

    /// <param name="module">The kernel file below <c>kernels/</c>, without its ending.</param>
    /// <param name="name">The kernel's name in the file.</param>
    internal CudaKernel(string module, string name)
    {
        (Module, Name) = (module, name);
        lock (Guard)
        {
            Index = Created.Count;
            Created.Add(this);
        }
    }

    /// <summary>Those of every op used so far.</summary>
    internal static CudaKernel[] All
    {
        get { lock (Guard) return [.. Created]; }
    }

    internal string Module { get; }

    internal string Name { get; }

    /// <summary>Place in each device's table of functions.</summary>
    internal int Index { get; }

    /// <summary>
    /// Issues the kernel to the shape's stream, else the device's. Arguments are in the order of the kernel's parameters;
    /// their sizes are checked against it. Allocates nothing.
    /// </summary>
    /// <exception cref="ArgumentException">Number or size of the arguments is not the kernel's.</exception>
    /// <exception cref="CudaException">The driver refuses the launch.</exception>
    internal void Launch(Device device, LaunchShape shape, params ReadOnlySpan<KernelArgument> arguments)
    {
        var cuda = (CudaDevice)device;
        cuda.MakeCurrent();
        CudaFunction function = cuda.Kernels.Find(this);
        function.CheckArguments(arguments);
        if (shape.SharedBytes > function.DynamicSharedLimit) function.RaiseDynamicShared(shape.SharedBytes);

        ulong* values = stackalloc ulong[arguments.Length];
        void** pointers = stackalloc void*[arguments.Length];
        for (int i = 0; i < arguments.Length; i++)
        {
            values[i] = arguments[i].Bits;
            pointers[i] = arguments[i].IsStruct ? (void*)values[i] : values + i;
        }
        int result = CudaDriver.cuLaunchKernel(function.Handle,
            (uint)shape.GridX, (uint)shape.GridY, (uint)shape.GridZ, (uint)shape.Block, 1, 1,
            (uint)shape.SharedBytes, shape.Stream != 0 ? shape.Stream : cuda.Stream, pointers, null);
        arguments.KeepAlive();
        if (result != 0) CudaException.Throw(result, Name);
    }
}

/// <summary>How many blocks of how many threads, and how much dynamic shared memory each block gets.</summary>
internal readonly record struct LaunchShape(int GridX, int Block, int GridY = 1, int GridZ = 1, int SharedBytes = 0)
{
    /// <summary>
    /// Shared memory, static and dynamic, that a block may have on every GPU from compute capability 8.0 on: 99 KiB, the limit
    /// of 8.6, 8.9 and 12.0. A kernel that can use more asks <see cref="CudaDevice.SharedBytesPerBlock"/> first.
    /// </summary>
    internal const int SharedBytesEverywhere = 99 << 10;

    /// <summary>Blocks that CUDA allows along y, and along z.</summary>
    internal const int MostGridY = 65535;

    /// <summary>The CUstream it is issued to; 0: the device's own.</summary>
    internal nint Stream { get; init; }

    /// <summary>Blocks of one thread per item, up to a limit: for kernels whose threads take every n-th item.</summary>
    internal static LaunchShape GridStride(long items, int block, int mostBlocks = 4096) =>
        new((int)Math.Clamp((items + block - 1) / block, 1, mostBlocks), block);

    /// <summary>A warp per item, eight to a block: for kernels that give each row a warp.</summary>
    internal static LaunchShape WarpPerItem(int items) => new((int)Math.Max(1, (items + 7L) / 8), 256);
}

/// <summary>A kernel found on a device.</summary>
internal sealed class CudaFunction
{
    private readonly string _name;
    private readonly int[]? _sizes;
    private readonly Lock _raising = new();
    private volatile int _dynamicSharedLimit = 48 << 10;

    internal CudaFunction(string name, nint handle)
    {
        _name = name;
        Handle = handle;
        if (!CudaDriver.HasParamInfo) return; // drivers before CUDA 12.4
        var sizes = new List<int>();
        while (CudaDriver.cuFuncGetParamInfo(handle, (nuint)sizes.Count, out _, out nuint size) == 0) sizes.Add((int)size);
        _sizes = [.. sizes];
    }

    internal nint Handle { get; }

    internal int DynamicSharedLimit => _dynamicSharedLimit;

    /// <summary>Never lowers it: another thread may be about to launch with more.</summary>
    internal void RaiseDynamicShared(int bytes)
    {
        lock (_raising)
        {
            if (bytes <= _dynamicSharedLimit) return;
            CudaException.Check(CudaDriver.cuFuncSetAttribute(Handle, CudaDriver.MaxDynamicSharedSizeBytes, bytes), _name);
            _dynamicSharedLimit = bytes;
        }
    }

    internal void CheckArguments(ReadOnlySpan<KernelArgument> arguments)
    {
        if (_sizes is null) return;
        if (arguments.Length != _sizes.Length)
            throw new ArgumentException($"{_name} has {_sizes.Length} parameters, but the launch gives {arguments.Length} arguments.");
        for (int i = 0; i < _sizes.Length; i++)
            if (arguments[i].Size != _sizes[i])
                throw new ArgumentException($"{_name}: parameter {i} has {_sizes[i]} bytes in the kernel, but {arguments[i].Size} in the launch.");
    }
}
