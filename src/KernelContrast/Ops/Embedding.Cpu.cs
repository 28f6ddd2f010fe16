using System.Numerics.Tensors;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class EmbeddingOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override (int Position, int Index) FindBadIndex(Tensor indices, int count)
        {
            ReadOnlySpan<int> values = indices.AsSpan<int>();
            for (int i = 0; i < values.Length; i++)
                if ((uint)values[i] >= (uint)count) return (i, values[i]);
            return (-1, 0);
        }

        internal override void Forward(Tensor y, Tensor table, Tensor indices)
        {
            nint to = y.Pointer, from = table.Pointer, index = indices.Pointer;
            int dim = table.Shape[1];
            ((CpuDevice)y.Device).Workers.ForRanges(y.Shape[0], CpuGrain.Elementwise / Math.Max(1, dim), (start, end) =>
            {
                for (long row = start; row < end; row++)
                    Row(from, ((int*)index)[row], dim).CopyTo(Row(to, row, dim));
            });
        }

        // Each part owns a range of the table and looks for it among all indices: no atomics, a fixed order of sums.
        internal override void Backward(Tensor gradTable, Tensor gradY, Tensor indices)
        {
            nint to = gradTable.Pointer, from = gradY.Pointer, index = indices.Pointer;
            int dim = gradTable.Shape[1], rows = gradY.Shape[0];
            ((CpuDevice)gradY.Device).Workers.ForRanges(gradTable.Shape[0], CpuGrain.Elementwise / Math.Max(1, dim), (start, end) =>
            {
                for (long entry = start; entry < end; entry++) Row(to, entry, dim).Clear();
                for (int row = 0; row < rows; row++)
                {
                    int entry = ((int*)index)[row];
                    if (entry < start || entry >= end) continue;
                    Span<float> sum = Row(to, entry, dim);
                    TensorPrimitives.Add(sum, Row(from, row, dim), sum);
                }
            });
        }

        private static Span<float> Row(nint matrix, long row, int dim) => new((float*)matrix + row * dim, dim);
    }
}
