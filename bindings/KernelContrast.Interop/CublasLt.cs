using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>
/// cuBLASLt, NVIDIA's matrix products, as far as it is used here and under its own names. Every function but those of
/// text returns a cublasStatus_t, 0 for success. Load it with <see cref="VendorLibrary.CublasLt"/> first. Matrices lie
/// column by column.
/// </summary>
public static unsafe partial class CublasLt
{
    internal const string Name = "cublasLt";

    /// <summary>CUDA_R_32F.</summary>
    public const int Real32 = 0;

    /// <summary>CUDA_R_16BF.</summary>
    public const int RealBf16 = 14;

    /// <summary>CUBLAS_COMPUTE_32F: sums, and float32 products, in float32.</summary>
    public const int Compute32 = 68;

    /// <summary>CUBLAS_COMPUTE_32F_FAST_TF32: float32 factors may be rounded to TF32.</summary>
    public const int Compute32Tf32 = 77;

    /// <summary>CUBLASLT_MATMUL_DESC_TRANSA: int, 0 as it lies, 1 transposed.</summary>
    public const int DescTransA = 3;

    /// <summary>CUBLASLT_MATMUL_DESC_TRANSB.</summary>
    public const int DescTransB = 4;

    /// <summary>CUBLASLT_MATMUL_DESC_EPILOGUE: uint.</summary>
    public const int DescEpilogue = 7;

    /// <summary>CUBLASLT_MATMUL_DESC_BIAS_POINTER: an address; as many numbers as D has rows, of D's type.</summary>
    public const int DescBiasPointer = 8;

    /// <summary>CUBLASLT_EPILOGUE_DEFAULT.</summary>
    public const uint EpilogueDefault = 1;

    /// <summary>CUBLASLT_EPILOGUE_RELU; with <see cref="EpilogueBias"/> after it is added.</summary>
    public const uint EpilogueRelu = 2;

    /// <summary>CUBLASLT_EPILOGUE_BIAS.</summary>
    public const uint EpilogueBias = 4;

    /// <summary>CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: ulong.</summary>
    public const int PreferenceWorkspaceBytes = 1;

    /// <summary>CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: uint.</summary>
    public const int PreferenceReductionSchemes = 3;

    /// <summary>CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: uint; those of B, C and D follow it.</summary>
    public const int PreferenceAlignmentOfA = 5;

    /// <summary>CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: parts of a sum meet in the workspace, in float32.</summary>
    public const uint ReductionInWorkspace = 2;

    /// <summary>CUBLAS_STATUS_NOT_SUPPORTED.</summary>
    public const int NotSupported = 15;

    /// <summary>The version: 10000 · major + 100 · minor + patch.</summary>
    [LibraryImport(Name)] public static partial nuint cublasLtGetVersion();

    /// <summary>The name of a status, owned by the library.</summary>
    [LibraryImport(Name)] public static partial byte* cublasLtGetStatusName(int status);

    /// <summary>Creates a handle for the current context's device.</summary>
    [LibraryImport(Name)] public static partial int cublasLtCreate(out nint handle);

    /// <summary>Destroys a handle.</summary>
    [LibraryImport(Name)] public static partial int cublasLtDestroy(nint handle);

    /// <summary>Creates the description of a product.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulDescCreate(out nint desc, int computeType, int scaleType);

    /// <summary>Destroys it.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulDescDestroy(nint desc);

    /// <summary>Sets one of its attributes.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulDescSetAttribute(nint desc, int attribute, void* value, nuint bytes);

    /// <summary>Creates the layout of a matrix; <paramref name="ld"/> elements lie between the beginnings of columns.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatrixLayoutCreate(out nint layout, int type, ulong rows, ulong cols, long ld);

    /// <summary>Destroys it.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatrixLayoutDestroy(nint layout);

    /// <summary>Creates the preferences of a choice of algorithm.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulPreferenceCreate(out nint preference);

    /// <summary>Destroys them.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulPreferenceDestroy(nint preference);

    /// <summary>Sets one of them.</summary>
    [LibraryImport(Name)] public static partial int cublasLtMatmulPreferenceSetAttribute(nint preference, int attribute, void* value, nuint bytes);

    /// <summary>Chooses algorithms for a product, the one guessed fastest first.</summary>
    [LibraryImport(Name)]
    public static partial int cublasLtMatmulAlgoGetHeuristic(nint handle, nint desc, nint layoutA, nint layoutB, nint layoutC, nint layoutD, nint preference,
        int requested, CublasLtHeuristicResult* results, out int found);

    /// <summary>D = epilogue(alpha · op(A) op(B) + beta · C); alpha and beta are on the host.</summary>
    [LibraryImport(Name)]
    public static partial int cublasLtMatmul(nint handle, nint desc, void* alpha, ulong a, nint layoutA, ulong b, nint layoutB, void* beta, ulong c, nint layoutC,
        ulong d, nint layoutD, CublasLtAlgorithm* algorithm, ulong workspace, nuint workspaceBytes, nint stream);

    /// <summary>Throws when <paramref name="status"/> is not 0.</summary>
    /// <exception cref="VendorException">With the call and the status's name.</exception>
    public static void Check(int status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != 0) throw VendorException.Of(status, call, Marshal.PtrToStringUTF8((nint)cublasLtGetStatusName(status)) ?? $"status {status}");
    }
}

/// <summary>cublasLtMatmulAlgo_t: an algorithm, opaque.</summary>
[InlineArray(8)]
public struct CublasLtAlgorithm
{
    private ulong _data;
}

/// <summary>cublasLtMatmulHeuristicResult_t.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct CublasLtHeuristicResult
{
    /// <summary>The algorithm.</summary>
    public CublasLtAlgorithm Algorithm;

    /// <summary>Bytes of workspace it needs.</summary>
    public nuint WorkspaceBytes;

    /// <summary>A cublasStatus_t; the rest holds only when it is 0.</summary>
    public int State;

    /// <summary>How often its blocks fill the GPU.</summary>
    public float Waves;

    private fixed int _reserved[4];
}

/// <summary>What cuBLASLt makes and wants destroyed.</summary>
public sealed class CublasLtObject : SafeHandle
{
    private readonly Func<nint, int> _destroy;

    private CublasLtObject(nint created, Func<nint, int> destroy) : base(0, ownsHandle: true)
    {
        _destroy = destroy;
        SetHandle(created);
    }

    /// <summary>A handle of the library for the current context's device.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CublasLtObject Handle()
    {
        CublasLt.Check(CublasLt.cublasLtCreate(out nint created));
        return new(created, CublasLt.cublasLtDestroy);
    }

    /// <summary>The description of a product with float32 sums and scales.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CublasLtObject MatmulDesc(int computeType)
    {
        CublasLt.Check(CublasLt.cublasLtMatmulDescCreate(out nint created, computeType, CublasLt.Real32));
        return new(created, CublasLt.cublasLtMatmulDescDestroy);
    }

    /// <summary>The layout of a matrix.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CublasLtObject MatrixLayout(int type, int rows, int columns, int leadingDimension)
    {
        CublasLt.Check(CublasLt.cublasLtMatrixLayoutCreate(out nint created, type, (ulong)rows, (ulong)columns, leadingDimension));
        return new(created, CublasLt.cublasLtMatrixLayoutDestroy);
    }

    /// <summary>Preferences for a choice of algorithm.</summary>
    /// <exception cref="VendorException">The library refuses.</exception>
    public static CublasLtObject Preference()
    {
        CublasLt.Check(CublasLt.cublasLtMatmulPreferenceCreate(out nint created));
        return new(created, CublasLt.cublasLtMatmulPreferenceDestroy);
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => _destroy(handle) == 0;
}
