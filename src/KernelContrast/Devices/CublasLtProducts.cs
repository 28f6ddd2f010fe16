using System.Collections.Concurrent;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Matrix products of cuBLASLt on one device. The algorithm of a product is chosen once, by the library's heuristic, and
/// kept; parts of a sum may meet in the workspace, never in the output: a product gives the same bits each time.
/// </summary>
internal sealed unsafe class CublasLtProducts : IDisposable
{
    /// <summary>What an algorithm may ask for: NVIDIA's advice for Hopper.</summary>
    private const ulong WorkspaceBytes = 32 << 20;

    private readonly CudaDevice _device;
    private readonly CublasLtObject _handle;
    private readonly ConcurrentDictionary<Product, Plan?> _plans = new();

    private CublasLtProducts(CudaDevice device)
    {
        _device = device;
        _handle = CublasLtObject.Handle();
    }

    /// <summary>Null when the library is not there or does not work with this driver; then says why.</summary>
    internal static CublasLtProducts? Open(CudaDevice device, out string description)
    {
        if (!VendorLibrary.CublasLt.TryUse(device.DriverVersion.Major, out description)) return null;
        device.MakeCurrent();
        nuint version = CublasLt.cublasLtGetVersion();
        description = $"cuBLASLt {version / 10000}.{version / 100 % 100}.{version % 100} ({VendorLibrary.CublasLt.Path})";
        try { return new(device); }
        catch (VendorException e)
        {
            description += $", which does not work here: {e.Message}";
            return null;
        }
    }

    /// <summary>How many products it computed.</summary>
    internal long Count { get; private set; }

    /// <summary>
    /// c = epilogue(op(a)·op(b)), dense and row-major: for cuBLASLt, which counts by columns, cᵀ = op(b)ᵀ·op(a)ᵀ. Bias has
    /// c's type. False when the library offers no algorithm. Allocates nothing but at a product's first time.
    /// </summary>
    internal bool TryMultiply(in Product product, nint c, nint a, nint b, nint bias)
    {
        _device.MakeCurrent();
        if (!_plans.TryGetValue(product, out Plan? plan)) plan = _plans.GetOrAdd(product, Choose(product, bias));
        if (plan is null) return false;
        float one = 1, zero = 0;
        lock (plan)
        {
            nint workspace = plan.WorkspaceBytes == 0 ? 0 : _device.Pool.Rent(plan.WorkspaceBytes, out plan.Reserved);
            try
            {
                if (bias != 0) CublasLt.Check(CublasLt.cublasLtMatmulDescSetAttribute(plan.Desc, CublasLt.DescBiasPointer, &bias, (nuint)sizeof(nint)));
                CublasLtAlgorithm algorithm = plan.Algorithm;
                CublasLt.Check(CublasLt.cublasLtMatmul(_handle.DangerousGetHandle(), plan.Desc, &one, (ulong)b, plan.LayoutB, (ulong)a, plan.LayoutA, &zero, (ulong)c, plan.LayoutC,
                    (ulong)c, plan.LayoutC, &algorithm, (ulong)workspace, (nuint)plan.WorkspaceBytes, _device.Stream));
            }
            finally { if (workspace != 0) _device.Pool.Return(workspace, plan.WorkspaceBytes, plan.Reserved); }
            Count++;
        }
        return true;
    }

    /// <summary>Destroys what the library made.</summary>
    public void Dispose()
    {
        foreach (Plan? plan in _plans.Values) plan?.Dispose();
        _handle.Dispose();
    }

    /// <summary>The algorithm for a product; null when there is none.</summary>
    private Plan? Choose(in Product p, nint bias)
    {
        int factors = TypeOf(p.Factors), result = TypeOf(p.Result), transposeFirst = p.TransposeB ? 1 : 0, transposeSecond = p.TransposeA ? 1 : 0;
        uint epilogue = (p.HasBias ? CublasLt.EpilogueBias : 0) | (p.Relu ? CublasLt.EpilogueRelu : 0), alignment = (uint)p.Alignment, reductions = CublasLt.ReductionInWorkspace;
        if (epilogue == 0) epilogue = CublasLt.EpilogueDefault;
        ulong workspace = WorkspaceBytes;
        CublasLtObject desc = CublasLtObject.MatmulDesc(p.Tf32 ? CublasLt.Compute32Tf32 : CublasLt.Compute32);
        Set(CublasLt.DescTransA, &transposeFirst, sizeof(int));
        Set(CublasLt.DescTransB, &transposeSecond, sizeof(int));
        Set(CublasLt.DescEpilogue, &epilogue, sizeof(uint));
        if (p.HasBias) Set(CublasLt.DescBiasPointer, &bias, sizeof(nint)); // the choice depends on its alignment
        // A row-major [rows, columns] is a column-major [columns, rows].
        CublasLtObject layoutB = p.TransposeB ? CublasLtObject.MatrixLayout(factors, p.Depth, p.Columns, p.Depth) : CublasLtObject.MatrixLayout(factors, p.Columns, p.Depth, p.Columns);
        CublasLtObject layoutA = p.TransposeA ? CublasLtObject.MatrixLayout(factors, p.Rows, p.Depth, p.Rows) : CublasLtObject.MatrixLayout(factors, p.Depth, p.Rows, p.Depth);
        CublasLtObject layoutC = CublasLtObject.MatrixLayout(result, p.Columns, p.Rows, p.Columns);
        using CublasLtObject preference = CublasLtObject.Preference();
        Prefer(CublasLt.PreferenceWorkspaceBytes, &workspace, sizeof(ulong));
        Prefer(CublasLt.PreferenceReductionSchemes, &reductions, sizeof(uint));
        for (int matrix = 0; matrix < 4; matrix++) Prefer(CublasLt.PreferenceAlignmentOfA + matrix, &alignment, sizeof(uint));

        CublasLtHeuristicResult choice;
        int status = CublasLt.cublasLtMatmulAlgoGetHeuristic(_handle.DangerousGetHandle(), desc.DangerousGetHandle(), layoutB.DangerousGetHandle(), layoutA.DangerousGetHandle(),
            layoutC.DangerousGetHandle(), layoutC.DangerousGetHandle(), preference.DangerousGetHandle(), 1, &choice, out int found);
        if (status != CublasLt.NotSupported) CublasLt.Check(status, nameof(CublasLt.cublasLtMatmulAlgoGetHeuristic));
        if (status == 0 && found > 0 && choice.State == 0) return new(desc, layoutA, layoutB, layoutC, choice);
        foreach (CublasLtObject made in new[] { desc, layoutA, layoutB, layoutC }) made.Dispose();
        return null;

        void Set(int attribute, void* value, int bytes) => CublasLt.Check(CublasLt.cublasLtMatmulDescSetAttribute(desc.DangerousGetHandle(), attribute, value, (nuint)bytes));

        void Prefer(int attribute, void* value, int bytes) =>
            CublasLt.Check(CublasLt.cublasLtMatmulPreferenceSetAttribute(preference.DangerousGetHandle(), attribute, value, (nuint)bytes));
    }

    private static int TypeOf(DType type) => type == DType.BFloat16 ? CublasLt.RealBf16 : CublasLt.Real32;

    /// <summary>What an algorithm is chosen for. Sizes of at least 1.</summary>
    /// <param name="Rows">Of c.</param>
    /// <param name="Columns">Of c.</param>
    /// <param name="Depth">Terms of each sum.</param>
    /// <param name="TransposeA">Whether a is [depth, rows].</param>
    /// <param name="TransposeB">Whether b is [columns, depth].</param>
    /// <param name="Factors">Type of a and b.</param>
    /// <param name="Result">Type of c and bias.</param>
    /// <param name="Tf32">Whether float32 factors are rounded to TF32.</param>
    /// <param name="HasBias">Whether bias [columns] is added to every row.</param>
    /// <param name="Relu">Whether negative results become 0.</param>
    /// <param name="Alignment">In bytes, of every address.</param>
    internal readonly record struct Product(int Rows, int Columns, int Depth, bool TransposeA, bool TransposeB, DType Factors, DType Result, bool Tf32, bool HasBias, bool Relu, int Alignment)
    {
        /// <summary>The largest power of two, up to 256, that divides every address; absent ones are 0.</summary>
        internal static int AlignmentOf(nint a, nint b, nint c, nint bias)
        {
            nint any = a | b | c | bias | 256;
            return (int)(any & -any);
        }
    }

    private sealed class Plan(CublasLtObject desc, CublasLtObject layoutA, CublasLtObject layoutB, CublasLtObject layoutC, CublasLtHeuristicResult choice) : IDisposable
    {
        private readonly CublasLtObject[] _owned = [desc, layoutA, layoutB, layoutC]; // for as long as the plan

        internal readonly CublasLtAlgorithm Algorithm = choice.Algorithm;
        internal readonly long WorkspaceBytes = (long)choice.WorkspaceBytes;
        internal long Reserved;

        public void Dispose()
        {
            foreach (CublasLtObject owned in _owned) owned.Dispose();
        }

        internal nint Desc => _owned[0].DangerousGetHandle();
        internal nint LayoutA => _owned[1].DangerousGetHandle();
        internal nint LayoutB => _owned[2].DangerousGetHandle();
        internal nint LayoutC => _owned[3].DangerousGetHandle();
    }
}
