using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// <see cref="Functional.CosineTopK"/> on memory the caller owns: addresses in, addresses out. No tensors, nothing
/// allocated, and on CUDA no wait: kernels are issued to <see cref="Stream"/>.
/// </summary>
/// <remarks>
/// Set what describes the problem, ask <see cref="WorkspaceBytes"/>, set the addresses, then call <see cref="Run(Device)"/>.
/// Addresses are multiples of their elements' size, on CUDA that of the workspace of 256; others are refused.
/// Several may run at the same time, each on memory of its own: <see cref="LossCall"/> says what that takes.
/// </remarks>
public struct CosineTopKCall
{
    /// <summary>A problem of these sizes.</summary>
    /// <param name="queryRows">Rows of queries.</param>
    /// <param name="keyRows">Rows of keys, at least 1.</param>
    /// <param name="dim">Elements per row, at least 1.</param>
    /// <param name="k">Neighbours per query, at most as many as keys.</param>
    /// <exception cref="ArgumentException">The sizes are no matrices', or there are fewer than k keys.</exception>
    public CosineTopKCall(int queryRows, int keyRows, int dim, int k)
    {
        (QueryRows, KeyRows, Dim, K) = (queryRows, keyRows, dim, k);
        CosineTopKOp.CheckArguments(this);
    }

    /// <summary>Rows of queries.</summary>
    public int QueryRows { get; }

    /// <summary>Rows of keys.</summary>
    public int KeyRows { get; }

    /// <summary>Elements per row.</summary>
    public int Dim { get; }

    /// <summary>Neighbours per query.</summary>
    public int K { get; }

    /// <summary>Leave key i out for query i.</summary>
    public bool ExcludeSelf { get; set; }

    /// <summary>In which numbers products are formed.</summary>
    public Precision Precision { get; set; }

    /// <summary>In: [queries, dim].</summary>
    public DeviceMatrix Queries { get; set; }

    /// <summary>In: [keys, dim]; may be the queries.</summary>
    public DeviceMatrix Keys { get; set; }

    /// <summary>Out: int32 [queries, k], rows of the keys.</summary>
    public nint Indices { get; set; }

    /// <summary>Out: float32 [queries, k], descending.</summary>
    public nint Similarities { get; set; }

    /// <summary>Scratch memory: <see cref="WorkspaceBytes"/>.</summary>
    public nint Workspace { get; set; }

    /// <summary>A CUstream of the current context; 0: the device's own; 1: the legacy default stream. The CPU ignores it.</summary>
    public nint Stream { get; set; }

    /// <summary>Bytes of <see cref="Workspace"/>.</summary>
    /// <exception cref="ArgumentException">There are fewer than k keys to choose from.</exception>
    public readonly long WorkspaceBytes(Device device)
    {
        CosineTopKOp.CheckArguments(this);
        return CosineTopKOp.On(device).WorkspaceBytes(device, this);
    }

    /// <summary>Fills <see cref="Indices"/> and <see cref="Similarities"/>.</summary>
    /// <exception cref="ArgumentException">There are fewer than k keys to choose from, or an address is missing or misaligned.</exception>
    public readonly void Run(Device device)
    {
        if (QueryRows == 0) return;
        CosineTopKOp.CheckAddresses(this);
        CosineTopKOp.On(device).Run(device, this);
    }

    /// <summary>The same on the CPU, on memory of the host, dense and row-major. After the first call of a size, nothing is allocated.</summary>
    /// <param name="queries">[queries · dim].</param>
    /// <param name="keys">[keys · dim].</param>
    /// <param name="indices">Out: [queries · k].</param>
    /// <param name="similarities">Out: [queries · k].</param>
    /// <exception cref="ArgumentException">A span has the wrong length, or there are fewer than k keys to choose from.</exception>
    public readonly unsafe void Run(ReadOnlySpan<float> queries, ReadOnlySpan<float> keys, Span<int> indices, Span<float> similarities)
    {
        CosineTopKOp.CheckArguments(this);
        Length("queries", queries.Length, QueryRows, Dim);
        Length("keys", keys.Length, KeyRows, Dim);
        Length("indices", indices.Length, QueryRows, K);
        Length("similarities", similarities.Length, QueryRows, K);
        Check.That(!similarities.Overlaps(queries) && !similarities.Overlaps(keys), $"{CosineTopKOp.Name}: the similarities overlap an input; give them memory of their own.");
        if (QueryRows == 0) return;
        CpuDevice cpu = Device.Cpu;
        CosineTopKCall call = this;
        long bytes = WorkspaceBytes(cpu);
        call.Workspace = cpu.Pool.Rent(bytes);
        try
        {
            fixed (float* q = queries, s = keys, similar = similarities)
            fixed (int* index = indices)
            {
                (call.Queries, call.Keys) = (new((nint)q, Dim), new((nint)s, Dim));
                (call.Indices, call.Similarities) = ((nint)index, (nint)similar);
                call.Run(cpu);
            }
        }
        finally { cpu.Pool.Return(call.Workspace, bytes); }

        static void Length(string name, int length, int rows, int columns) => Check.That(length == (long)rows * columns,
            $"{CosineTopKOp.Name}: {name} have {length} elements, but {rows} rows of {columns} are {(long)rows * columns} elements.");
    }
}
