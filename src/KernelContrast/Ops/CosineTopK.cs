using KernelContrast.Losses;

namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// The k keys most similar to each query by cosine similarity, most similar first; of equally similar ones the lower
    /// index comes first. Similarities are formed tile by tile and forgotten: memory grows with rows, never with
    /// queries × keys.
    /// </summary>
    /// <param name="queries">[N, D].</param>
    /// <param name="keys">[M, D]; may be the queries.</param>
    /// <param name="k">Neighbours per query, from 1 to M, or to M − 1 without self.</param>
    /// <param name="excludeSelf">Leave key i out for query i, where keys are the queries; M is then at least N.</param>
    /// <param name="precision">In which numbers products are formed.</param>
    /// <returns>Int32 [N, k] rows of the keys, and float32 [N, k] their similarities, which have no gradient.</returns>
    /// <remarks>
    /// A row of zeros has similarity 0 to everything. A similarity that is not a number (its query or its key holds NaN or an
    /// infinity) comes before every number, among themselves by index: it shows, and displaces what cannot be told from it.
    /// The result is the same for any number of threads; devices round differently, so where two keys are equal but for
    /// rounding, another may come first on another device.
    /// </remarks>
    /// <exception cref="ArgumentException">The columns differ, or there are fewer than k keys to choose from.</exception>
    public static (Tensor Indices, Tensor Similarities) CosineTopK(Tensor queries, Tensor keys, int k, bool excludeSelf = false,
        Precision precision = Precision.Float32)
    {
        ArgumentNullException.ThrowIfNull(queries);
        ArgumentNullException.ThrowIfNull(keys);
        return CosineTopKOp.Apply(queries, keys, k, excludeSelf, precision);
    }
}

/// <summary>
/// s_ij = q_i·k_j / (‖q_i‖ ‖k_j‖); row i's result are the k greatest s_ij with their j, ordered by (s descending, j
/// ascending), NaN above all numbers. That order is total, so the k best are one set whatever the order in which tiles come
/// and partial results are merged. Forward only, nothing saved.
/// </summary>
internal static partial class CosineTopKOp
{
    internal const string Name = "cosine-top-k";

    internal abstract class Kernels
    {
        /// <summary>Bytes of scratch memory.</summary>
        internal abstract long WorkspaceBytes(Device device, in CosineTopKCall call);

        /// <summary>Fills Indices and Similarities, from Queries and Keys alone.</summary>
        internal abstract void Run(Device device, in CosineTopKCall call);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static (Tensor Indices, Tensor Similarities) Apply(Tensor queries, Tensor keys, int k, bool excludeSelf, Precision precision)
    {
        Device device = Check.SameDevice(Name, queries, keys);
        Check.Rank(Name, queries, 2);
        Check.Rank(Name, keys, 2);
        Check.That(queries.Shape[1] == keys.Shape[1], $"{Name}: queries have shape {queries.Shape}, keys {keys.Shape}; their rows must have one length.");
        int rows = queries.Shape[0], dim = keys.Shape[1];
        var call = new CosineTopKCall(rows, keys.Shape[0], dim, k) { ExcludeSelf = excludeSelf, Precision = precision };
        CheckArguments(call);
        Tensor indices = Tensor.Empty(new(rows, k), device, DType.Int32), similarities = Tensor.Empty(new(rows, k), device);
        using Tensor workspace = ContrastOp.Bytes(device, On(device).WorkspaceBytes(device, call));
        call.Queries = new(queries.Pointer, dim);
        call.Keys = new(keys.Pointer, dim);
        (call.Indices, call.Similarities, call.Workspace) = (indices.Pointer, similarities.Pointer, workspace.Pointer);
        if (rows > 0) On(device).Run(device, call);
        GC.KeepAlive((queries, keys));
        return (indices, similarities);
    }

    internal static void CheckArguments(in CosineTopKCall call)
    {
        Check.That(call.QueryRows >= 0 && call.KeyRows >= 1 && call.Dim >= 1,
            $"{Name}: there are {call.QueryRows} queries and {call.KeyRows} keys of {call.Dim} columns, expected at least one key and one column.");
        Check.That(!call.ExcludeSelf || call.KeyRows >= call.QueryRows,
            $"{Name}: without self, key i is query i, but there are {call.KeyRows} keys and {call.QueryRows} queries.");
        Check.That((long)Math.Max(call.QueryRows, call.KeyRows) * call.Dim <= Check.MostElements, $"{Name}: {Math.Max(call.QueryRows, call.KeyRows)} rows of {call.Dim} are more than 2⁴⁴ elements.");
        Check.That(call.Precision is Precision.Float32 or Precision.Tf32 or Precision.BFloat16, $"{Name}: there is no precision {call.Precision}.");
        int most = call.KeyRows - (call.ExcludeSelf ? 1 : 0);
        Check.That(call.K >= 1 && call.K <= most,
            $"{Name}: k is {call.K}, expected 1 to {most}: there are {call.KeyRows} keys{(call.ExcludeSelf ? ", of which a query's own does not count" : "")}.");
    }

    /// <exception cref="ArgumentException">An address is missing, or is no multiple of what it must be.</exception>
    internal static void CheckAddresses(in CosineTopKCall call)
    {
        CheckArguments(call);
        int dim = call.Dim;
        Matrix(call.Queries, "queries");
        Matrix(call.Keys, "keys");
        Check.That(call.Indices != 0 && call.Similarities != 0 && call.Workspace != 0,
            $"{Name}: set Indices, Similarities and Workspace to memory of the device before Run.");
        Check.Aligned(Name, call.Indices, 4, "Indices");
        Check.Aligned(Name, call.Similarities, 4, "Similarities");
        Check.Aligned(Name, call.Workspace, 4, "Workspace");

        void Matrix(DeviceMatrix matrix, string what)
        {
            Check.That(matrix.Pointer != 0 && matrix.RowStride >= dim && matrix.Type.IsFloat(),
                $"{Name}: {what} are at {matrix.Pointer:x} with a row stride of {matrix.RowStride} and hold {matrix.Type}, expected an address, a stride of {dim} or more, and Float32 or BFloat16.");
            Check.Aligned(Name, matrix.Pointer, matrix.Type.Size(), what);
        }
    }
}
