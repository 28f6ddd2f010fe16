using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>
/// The CUDA driver API, as far as it is used here, under the driver's own names: a suffixed entry point is the one that
/// its unsuffixed name has meant since CUDA 3.2. Every function returns a CUresult, 0 for success; see
/// <see cref="CudaException.Check"/>. Call <see cref="CudaLibrary.Use"/> first.
/// </summary>
/// <remarks>
/// Handles are passed as they are: CUcontext, CUmodule, CUfunction and CUstream as <see cref="nint"/>, CUdeviceptr as
/// <see cref="ulong"/>, CUdevice as <see cref="int"/>, so that other bindings' handles fit.
/// </remarks>
public static unsafe partial class CudaDriver
{
    /// <summary>CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT.</summary>
    public const int MultiprocessorCount = 16;

    /// <summary>CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR.</summary>
    public const int ComputeCapabilityMajor = 75;

    /// <summary>CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR.</summary>
    public const int ComputeCapabilityMinor = 76;

    /// <summary>CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN.</summary>
    public const int MaxSharedMemoryPerBlockOptin = 97;

    /// <summary>CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.</summary>
    public const int MaxDynamicSharedSizeBytes = 8;

    /// <summary>CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream.</summary>
    public const uint StreamNonBlocking = 1;

    /// <summary>CU_EVENT_DISABLE_TIMING.</summary>
    public const uint EventDisableTiming = 2;

    /// <summary>CUDA_ERROR_OUT_OF_MEMORY.</summary>
    public const int OutOfMemory = 2;

    /// <summary>CUDA_ERROR_NOT_READY: the work asked about is not done yet.</summary>
    public const int NotReady = 600;

    /// <summary>Initialises the driver; <paramref name="flags"/> is 0.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuInit(uint flags);

    /// <summary>The CUDA version the driver supports: 1000 · major + 10 · minor.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDriverGetVersion(out int version);

    /// <summary>Number of devices.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDeviceGetCount(out int count);

    /// <summary>Handle of a device by number.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDeviceGet(out int device, int ordinal);

    /// <summary>Name of a device, zero-terminated.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDeviceGetName(byte* name, int length, int device);

    /// <summary>Memory of a device, in bytes.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDeviceTotalMem_v2(out nuint bytes, int device);

    /// <summary>An attribute of a device.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDeviceGetAttribute(out int value, int attribute, int device);

    /// <summary>Takes a reference to the device's primary context, the one every library of the process shares.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDevicePrimaryCtxRetain(out nint context, int device);

    /// <summary>Gives the reference back.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDevicePrimaryCtxRelease_v2(int device);

    /// <summary>Makes a context current on the calling thread.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuCtxSetCurrent(nint context);

    /// <summary>The context that is current on the calling thread; 0 for none.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuCtxGetCurrent(out nint context);

    /// <summary>The device of the current context.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuCtxGetDevice(out int device);

    /// <summary>Creates a context of its own and makes it current. This library never does: it works in the primary context.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuCtxCreate_v2(out nint context, uint flags, int device);

    /// <summary>Destroys a context and what is in it.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuCtxDestroy_v2(nint context);

    /// <summary>Whether the device's primary context is there, without making it.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuDevicePrimaryCtxGetState(int device, out uint flags, out int active);

    /// <summary>Creates a stream.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamCreate(out nint stream, uint flags);

    /// <summary>Destroys a stream once its work has finished.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamDestroy_v2(nint stream);

    /// <summary>Waits for a stream's work.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamSynchronize(nint stream);

    /// <summary>0 when a stream's work is done, else <see cref="NotReady"/>.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamQuery(nint stream);

    /// <summary>What is issued to the stream from now on waits for the work before an event; the host does not. <paramref name="flags"/> is 0.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamWaitEvent(nint stream, nint recorded, uint flags);

    /// <summary>Allocates device memory, 256-byte aligned.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemAlloc_v2(out ulong address, nuint bytes);

    /// <summary>Frees device memory.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemFree_v2(ulong address);

    /// <summary>Allocates host memory that copies need not stage (pinned).</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemHostAlloc(out void* memory, nuint bytes, uint flags);

    /// <summary>Frees pinned host memory.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemFreeHost(void* memory);

    /// <summary>Creates an event.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventCreate(out nint created, uint flags);

    /// <summary>Destroys an event.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventDestroy_v2(nint recorded);

    /// <summary>Puts an event behind a stream's work so far.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventRecord(nint recorded, nint stream);

    /// <summary>Waits for the work before an event; returns at once when it was never recorded.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventSynchronize(nint recorded);

    /// <summary>0 when the work before an event is done, or it was never recorded; else <see cref="NotReady"/>.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuEventQuery(nint recorded);

    /// <summary>Copies from the host.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemcpyHtoDAsync_v2(ulong to, void* from, nuint bytes, nint stream);

    /// <summary>Copies to the host.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemcpyDtoHAsync_v2(void* to, ulong from, nuint bytes, nint stream);

    /// <summary>Copies within the device.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemcpyDtoDAsync_v2(ulong to, ulong from, nuint bytes, nint stream);

    /// <summary>Fills with a byte.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemsetD8Async(ulong to, byte value, nuint count, nint stream);

    /// <summary>Fills with 32-bit words.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuMemsetD32Async(ulong to, uint value, nuint count, nint stream);

    /// <summary>Loads an image: a cubin or PTX, or a module of the emulated driver.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuModuleLoadData(out nint module, void* image);

    /// <summary>Unloads a module.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuModuleUnload(nint module);

    /// <summary>A kernel of a module, by name.</summary>
    [LibraryImport(CudaLibrary.Name, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int cuModuleGetFunction(out nint function, nint module, string name);

    /// <summary>Sets an attribute of a kernel.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuFuncSetAttribute(nint function, int attribute, int value);

    /// <summary>Offset and size of a kernel's parameter; an error when there is none of that index. Since CUDA 12.4.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuFuncGetParamInfo(nint function, nuint index, out nuint offset, out nuint size);

    /// <summary>Launches a kernel; <paramref name="parameters"/> points to a pointer to each parameter.</summary>
    [LibraryImport(CudaLibrary.Name)]
    public static partial int cuLaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY,
        uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra);

    /// <summary>The name of an error, owned by the driver.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGetErrorName(int code, out byte* name);

    /// <summary>The description of an error, owned by the driver.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGetErrorString(int code, out byte* text);

    /// <summary>The emulated driver's order of threads (0 forward, 1 reverse) and of asynchronous copies (0 early, 1 late).</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int kceConfigure(int order, int copies);

    /// <summary>The compute capability of the emulated driver's devices that are opened from now on: 8.0 or 9.0.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int kceSetCapability(int major, int minor);

    /// <summary>Whether the driver has <see cref="cuFuncGetParamInfo"/>.</summary>
    public static bool HasParamInfo => CudaLibrary.HasExport(nameof(cuFuncGetParamInfo));
}
