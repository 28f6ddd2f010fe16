namespace KernelContrast;

public static partial class Functional
{
    /// <summary>y[n, :] = table[indices[n], :].</summary>
    /// <param name="table">[V, D].</param>
    /// <param name="indices">[N], Int32, each in [0, V).</param>
    /// <returns>[N, D].</returns>
    /// <exception cref="ArgumentException">Shapes or types do not fit, or an index is outside of [0, V): the message names its position.</exception>
    public static Tensor Embedding(Tensor table, Tensor indices)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(indices);
        return EmbeddingOp.Apply(table, indices);
    }
}

/// <summary>
/// Forward: y[n] = table[index_n]. Backward: grad_table[v] = Σ_{n: index_n = v} grad_y[n], in the order of n. Saves the indices.
/// </summary>
internal static partial class EmbeddingOp
{
    internal abstract class Kernels
    {
        /// <summary>First position whose index is outside of [0, count), with the index; (−1, 0) when there is none.</summary>
        internal abstract (int Position, int Index) FindBadIndex(Tensor indices, int count);
        internal abstract void Forward(Tensor y, Tensor table, Tensor indices);
        internal abstract void Backward(Tensor gradTable, Tensor gradY, Tensor indices);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor table, Tensor indices)
    {
        const string Op = "embedding";
        Device device = Check.SameDevice(Op, table);
        Check.Rank(Op, table, 2);
        Check.That(indices.Type == DType.Int32, $"{Op}: indices holds {indices.Type}, expected Int32.");
        Check.That(indices.Device == device, $"{Op}: table is on {device}, indices on {indices.Device}. Move one with To(device).");
        Check.Rank(Op, indices, 1);
        (int position, int index) = On(device).FindBadIndex(indices, table.Shape[0]);
        Check.That(position < 0, $"{Op}: index {position} is {index}, but table of shape {table.Shape} has rows 0 to {table.Shape[0] - 1}.");
        Tensor y = Tensor.Empty(new(indices.Shape[0], table.Shape[1]), device);
        On(device).Forward(y, table, indices);
        return Tape.Record(Op, y, [table], saved: [indices], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, indices: b.Saved(0)));
    }
}
