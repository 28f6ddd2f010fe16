using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

public static unsafe partial class CudaDriver
{
    /// <summary>CU_STREAM_CAPTURE_MODE_RELAXED: the capturing thread, and others, may allocate memory meanwhile.</summary>
    public const int CaptureRelaxed = 2;

    /// <summary>CUDA_ERROR_NOT_SUPPORTED.</summary>
    public const int NotSupported = 801;

    /// <summary>Keeps what is issued to a stream from now on for a graph, in place of running it.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamBeginCapture_v2(nint stream, int mode);

    /// <summary>Ends a capture and gives its graph; 0 when the capture failed.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuStreamEndCapture(nint stream, out nint graph);

    /// <summary>The number of a graph's nodes, with <paramref name="nodes"/> null.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGraphGetNodes(nint graph, nint* nodes, ref nuint count);

    /// <summary>Makes a graph ready to be launched. Of CUDA 11.4 and later: what headers call cuGraphInstantiate differs between versions.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGraphInstantiateWithFlags(out nint executable, nint graph, ulong flags);

    /// <summary>Issues all of a graph to a stream.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGraphLaunch(nint executable, nint stream);

    /// <summary>Destroys a graph that was made ready; a run under way ends first.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGraphExecDestroy(nint executable);

    /// <summary>Destroys a graph as it was captured.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int cuGraphDestroy(nint graph);

    /// <summary>Allows the emulated driver to capture graphs, which it refuses at first: for tests.</summary>
    [LibraryImport(CudaLibrary.Name)] public static partial int kceRecordGraphs(int allow);
}

/// <summary>A graph that is ready to be launched.</summary>
public sealed unsafe class CudaGraphHandle : SafeHandle
{
    /// <summary>Makes a captured graph ready and destroys what was captured.</summary>
    /// <param name="captured">Of <see cref="CudaDriver.cuStreamEndCapture"/>.</param>
    /// <exception cref="CudaException">The driver refuses.</exception>
    public CudaGraphHandle(nint captured) : base(0, ownsHandle: true)
    {
        try
        {
            nuint nodes = 0;
            CudaException.Check(CudaDriver.cuGraphGetNodes(captured, null, ref nodes));
            CudaException.Check(CudaDriver.cuGraphInstantiateWithFlags(out nint executable, captured, 0));
            NodeCount = (int)nodes;
            SetHandle(executable);
        }
        finally { _ = CudaDriver.cuGraphDestroy(captured); }
    }

    /// <summary>Kernels, copies and fills in it.</summary>
    public int NodeCount { get; }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => CudaDriver.cuGraphExecDestroy(handle) == 0;
}
