using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>
/// cuDNN 8 and 9, NVIDIA's convolutions, as far as it is used here and under its own names: the entry points that both
/// versions have. Every function but those of text returns a cudnnStatus_t, 0 for success. Load it with
/// <see cref="VendorLibrary.Cudnn"/> first.
/// </summary>
public static unsafe partial class Cudnn
{
    internal const string Name = "cudnn";

    /// <summary>CUDNN_TENSOR_NHWC: channels innermost.</summary>
    public const int FormatNhwc = 1;

    /// <summary>CUDNN_DATA_FLOAT.</summary>
    public const int Float32 = 0;

    /// <summary>CUDNN_DATA_BFLOAT16.</summary>
    public const int BFloat16 = 9;

    /// <summary>CUDNN_CROSS_CORRELATION.</summary>
    public const int CrossCorrelation = 1;

    /// <summary>CUDNN_DEFAULT_MATH: float32 may be multiplied in TF32.</summary>
    public const int DefaultMath = 0;

    /// <summary>CUDNN_TENSOR_OP_MATH.</summary>
    public const int TensorOpMath = 1;

    /// <summary>CUDNN_FMA_MATH: float32 is multiplied in float32.</summary>
    public const int FmaMath = 3;

    /// <summary>CUDNN_DETERMINISTIC.</summary>
    public const int Deterministic = 1;

    /// <summary>The version: 1000 · major + 100 · minor + patch of cuDNN 8, 10000 · major + 100 · minor + patch of cuDNN 9.</summary>
    [LibraryImport(Name)] public static partial nuint cudnnGetVersion();

    /// <summary>The name of a status, owned by the library.</summary>
    [LibraryImport(Name)] public static partial byte* cudnnGetErrorString(int status);

    /// <summary>Creates a handle for the current context's device.</summary>
    [LibraryImport(Name)] public static partial int cudnnCreate(out nint handle);

    /// <summary>Destroys a handle.</summary>
    [LibraryImport(Name)] public static partial int cudnnDestroy(nint handle);

    /// <summary>The stream that a handle's work goes to.</summary>
    [LibraryImport(Name)] public static partial int cudnnSetStream(nint handle, nint stream);

    /// <summary>Creates the description of a tensor.</summary>
    [LibraryImport(Name)] public static partial int cudnnCreateTensorDescriptor(out nint desc);

    /// <summary>Destroys it.</summary>
    [LibraryImport(Name)] public static partial int cudnnDestroyTensorDescriptor(nint desc);

    /// <summary>Format, type and sizes of a dense tensor.</summary>
    [LibraryImport(Name)] public static partial int cudnnSetTensor4dDescriptor(nint desc, int format, int type, int n, int c, int h, int w);

    /// <summary>Creates the description of filters.</summary>
    [LibraryImport(Name)] public static partial int cudnnCreateFilterDescriptor(out nint desc);

    /// <summary>Destroys it.</summary>
    [LibraryImport(Name)] public static partial int cudnnDestroyFilterDescriptor(nint desc);

    /// <summary>Type, format and sizes of filters.</summary>
    [LibraryImport(Name)] public static partial int cudnnSetFilter4dDescriptor(nint desc, int type, int format, int k, int c, int h, int w);

    /// <summary>Creates the description of a convolution.</summary>
    [LibraryImport(Name)] public static partial int cudnnCreateConvolutionDescriptor(out nint desc);

    /// <summary>Destroys it.</summary>
    [LibraryImport(Name)] public static partial int cudnnDestroyConvolutionDescriptor(nint desc);

    /// <summary>Paddings, strides, dilations, mode, and the type of its sums.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnSetConvolution2dDescriptor(nint desc, int padHeight, int padWidth, int strideHeight, int strideWidth, int dilationHeight, int dilationWidth,
        int mode, int computeType);

    /// <summary>How its products may be formed.</summary>
    [LibraryImport(Name)] public static partial int cudnnSetConvolutionMathType(nint desc, int math);

    /// <summary>Algorithms for y = x ⋆ w, the one guessed fastest first.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnGetConvolutionForwardAlgorithm_v7(nint handle, nint x, nint w, nint conv, nint y, int requested, out int returned, CudnnAlgorithm* results);

    /// <summary>Algorithms for the gradient to x.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnGetConvolutionBackwardDataAlgorithm_v7(nint handle, nint w, nint gradY, nint conv, nint gradX, int requested, out int returned, CudnnAlgorithm* results);

    /// <summary>Algorithms for the gradient to w.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnGetConvolutionBackwardFilterAlgorithm_v7(nint handle, nint x, nint gradY, nint conv, nint gradW, int requested, out int returned, CudnnAlgorithm* results);

    /// <summary>Workspace of an algorithm.</summary>
    [LibraryImport(Name)] public static partial int cudnnGetConvolutionForwardWorkspaceSize(nint handle, nint x, nint w, nint conv, nint y, int algorithm, out nuint bytes);

    /// <summary>Workspace of an algorithm.</summary>
    [LibraryImport(Name)] public static partial int cudnnGetConvolutionBackwardDataWorkspaceSize(nint handle, nint w, nint gradY, nint conv, nint gradX, int algorithm, out nuint bytes);

    /// <summary>Workspace of an algorithm.</summary>
    [LibraryImport(Name)] public static partial int cudnnGetConvolutionBackwardFilterWorkspaceSize(nint handle, nint x, nint gradY, nint conv, nint gradW, int algorithm, out nuint bytes);

    /// <summary>y = alpha · x ⋆ w + beta · y; alpha and beta are on the host.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnConvolutionForward(nint handle, void* alpha, nint xDesc, ulong x, nint wDesc, ulong w, nint conv, int algorithm, ulong workspace, nuint workspaceBytes,
        void* beta, nint yDesc, ulong y);

    /// <summary>The gradient to x.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnConvolutionBackwardData(nint handle, void* alpha, nint wDesc, ulong w, nint gradYDesc, ulong gradY, nint conv, int algorithm, ulong workspace,
        nuint workspaceBytes, void* beta, nint gradXDesc, ulong gradX);

    /// <summary>The gradient to w.</summary>
    [LibraryImport(Name)]
    public static partial int cudnnConvolutionBackwardFilter(nint handle, void* alpha, nint xDesc, ulong x, nint gradYDesc, ulong gradY, nint conv, int algorithm, ulong workspace,
        nuint workspaceBytes, void* beta, nint gradWDesc, ulong gradW);

    /// <summary>Throws when <paramref name="status"/> is not 0.</summary>
    /// <exception cref="VendorException">With the call and the status's name.</exception>
    public static void Check(int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0) throw VendorException.Of(status, call, Marshal.PtrToStringUTF8((nint)cudnnGetErrorString(status)) ?? $"status {status}");
    }

    /// <summary>Whether a status says that there is no such algorithm: CUDNN_STATUS_NOT_SUPPORTED, 9 of cuDNN 8 and 3000 and the like of cuDNN 9.</summary>
    public static bool IsNotSupported(int status) => status == 9 || status / 1000 == 3;
}

/// <summary>cudnnConvolutionFwdAlgoPerf_t and its two likes.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CudnnAlgorithm
{
    /// <summary>Its number.</summary>
    public int Algorithm;

    /// <summary>A cudnnStatus_t: whether it can be used.</summary>
    public int Status;

    /// <summary>Milliseconds, or less than 0.</summary>
    public float Milliseconds;

    /// <summary>Bytes of workspace.</summary>
    public nuint WorkspaceBytes;

    /// <summary>1 when it gives the same bits each time.</summary>
    public int Determinism;

    /// <summary>How it multiplies.</summary>
    public int Math;

    private fixed int _reserved[3];
}

/// <summary>What cuDNN makes and wants destroyed.</summary>
public sealed class CudnnObject : SafeHandle
{
    private readonly Func<nint, int> _destroy;

    private CudnnObject(nint created, Func<nint, int> destroy) : base(0, ownsHandle: true)
    {
        _destroy = destroy;
        SetHandle(created);
    }

    /// <summary>A handle of the library for the current context's device, whose work goes to a stream.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CudnnObject Handle(nint stream)
    {
        Cudnn.Check(Cudnn.cudnnCreate(out nint created));
        var handle = new CudnnObject(created, Cudnn.cudnnDestroy);
        Cudnn.Check(Cudnn.cudnnSetStream(created, stream));
        return handle;
    }

    /// <summary>A dense tensor [n, c, h, w] with channels innermost.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CudnnObject Tensor(int type, int n, int c, int h, int w)
    {
        Cudnn.Check(Cudnn.cudnnCreateTensorDescriptor(out nint created));
        var tensor = new CudnnObject(created, Cudnn.cudnnDestroyTensorDescriptor);
        Cudnn.Check(Cudnn.cudnnSetTensor4dDescriptor(created, Cudnn.FormatNhwc, type, n, c, h, w));
        return tensor;
    }

    /// <summary>Filters [k, c, h, w] with channels innermost.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CudnnObject Filter(int type, int k, int c, int h, int w)
    {
        Cudnn.Check(Cudnn.cudnnCreateFilterDescriptor(out nint created));
        var filter = new CudnnObject(created, Cudnn.cudnnDestroyFilterDescriptor);
        Cudnn.Check(Cudnn.cudnnSetFilter4dDescriptor(created, type, Cudnn.FormatNhwc, k, c, h, w));
        return filter;
    }

    /// <summary>A cross-correlation with sums in float32.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CudnnObject Convolution(int padding, int stride, int math)
    {
        Cudnn.Check(Cudnn.cudnnCreateConvolutionDescriptor(out nint created));
        var convolution = new CudnnObject(created, Cudnn.cudnnDestroyConvolutionDescriptor);
        Cudnn.Check(Cudnn.cudnnSetConvolution2dDescriptor(created, padding, padding, stride, stride, 1, 1, Cudnn.CrossCorrelation, Cudnn.Float32));
        Cudnn.Check(Cudnn.cudnnSetConvolutionMathType(created, math));
        return convolution;
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => _destroy(handle) == 0;
}
