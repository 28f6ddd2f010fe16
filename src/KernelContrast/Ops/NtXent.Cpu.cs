using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class NtXentOp
{
    /// <summary>
    /// Tiles of the upper triangle: a similarity and, above <see cref="ContrastOp.FixedShiftTemperature"/>, its exponential are
    /// computed once for both rows. The tiles are dealt to as many slots as there are threads by their work, in one
    /// fixed way; every slot sums into memory of its own, and the slots are added in order. Memory beside the input and
    /// the gradient: 2·rows·dim floats saved, and one more rows·dim per thread during backward.
    /// </summary>
    internal sealed unsafe class Cpu : ContrastKernels
    {
        private static readonly ContrastCpu Others = new();

        private static bool IsMine(in LossCall call) =>
            call is { Reduction: Reduction.Mean, Precision: Precision.Float32, Normalize: true, Labels: 0, TemperatureAt: 0, BiasAt: 0 }
            && (call.Embeddings.Pointer == 0 || call.Embeddings.RowStride == call.Dim)
            && (call.GradEmbeddings.Pointer == 0 || call.GradEmbeddings.RowStride == call.Dim);

        internal override long SavedBytes(Device device, in LossCall call)
        {
            if (!IsMine(call)) return Others.SavedBytes(device, call);
            return 4 * (new PackedRows(call.Rows, call.Dim, 2 * Simd.Bits / 32).Floats + 4 * RowFloats(call.Rows));
        }

        internal override long WorkspaceBytes(Device device, in LossCall call, bool backward) => 0;

        private static long RowFloats(int rows) => (rows + 15) / 16 * 16;

        private static NtXentBatch Batch(in LossCall call)
        {
            long row = RowFloats(call.Rows);
            float* packed = (float*)call.Saved, perRow = packed + new PackedRows(call.Rows, call.Dim, 2 * Simd.Bits / 32).Floats;
            return new NtXentBatch(call.Rows, call.Dim, call.Temperature, call.Layout)
            {
                Embeddings = (float*)call.Embeddings.Pointer,
                Normalized = packed,
                InverseNorm = perRow,
                Shift = perRow + row,
                InverseSum = perRow + 2 * row,
                NegativeShare = perRow + 3 * row,
                Gradient = (float*)call.GradEmbeddings.Pointer,
            };
        }

        internal override void Forward(Device device, in LossCall call)
        {
            if (!IsMine(call)) { Others.Forward(device, call); return; }
            NtXentBatch batch = Batch(call);
            *(float*)call.Loss = (float)Forward((CpuDevice)device, ref batch);
        }

        internal override void Backward(Device device, in LossCall call)
        {
            if (!IsMine(call)) { Others.Backward(device, call); return; }
            if (call.GradEmbeddings.Pointer == 0) return;
            NtXentBatch batch = Batch(call);
            batch.GradLoss = *(float*)call.GradLoss;
            Backward((CpuDevice)device, ref batch);
        }

        /// <summary>Both passes without a tape; no gradient when the span is empty.</summary>
        internal static double LossAndGradient(CpuDevice cpu, ReadOnlySpan<float> embeddings, int rows, int dim,
            float temperature, PairLayout layout, Span<float> gradient)
        {
            var packed = new PackedRows(rows, dim, 2 * Simd.Bits / 32);
            long rowFloats = RowFloats(rows), bytes = 4 * (packed.Floats + 4 * rowFloats);
            float* memory = (float*)cpu.Pool.Rent(bytes);
            try
            {
                fixed (float* h = embeddings, grad = gradient)
                {
                    float* perRow = memory + packed.Floats;
                    var batch = new NtXentBatch(rows, dim, temperature, layout)
                    {
                        Embeddings = h,
                        Normalized = memory,
                        InverseNorm = perRow,
                        Shift = perRow + rowFloats,
                        InverseSum = perRow + 2 * rowFloats,
                        NegativeShare = perRow + 3 * rowFloats,
                        Gradient = grad,
                        GradLoss = 1,
                    };
                    double loss = Forward(cpu, ref batch);
                    if (!gradient.IsEmpty) Backward(cpu, ref batch);
                    return loss;
                }
            }
            finally { cpu.Pool.Return((nint)memory, bytes); }
        }

        private static double Forward(CpuDevice cpu, ref NtXentBatch batch) => Simd.Bits switch
        {
            512 => Forward<F512>(cpu, ref batch),
            256 => Forward<F256>(cpu, ref batch),
            _ => Forward<F128>(cpu, ref batch),
        };

        private static void Backward(CpuDevice cpu, ref NtXentBatch batch)
        {
            switch (Simd.Bits)
            {
                case 512: Backward<F512>(cpu, ref batch); break;
                case 256: Backward<F256>(cpu, ref batch); break;
                default: Backward<F128>(cpu, ref batch); break;
            }
        }

        private static double Forward<T>(CpuDevice cpu, ref NtXentBatch batch) where T : struct, ISimd<T>
        {
            batch.Divide(cpu.Workers.Count, 2 * T.Width);
            int padded = batch.Rows.PaddedRows;
            // Per slot: scratch, sums in double, and the running maxima of the online path. Per row: the positive and the loss.
            long scratch = NtXentTiles<T>.ScratchFloats(ref batch), bytes = batch.Slots * (4 * scratch + 12L * padded) + 16L * padded;
            byte* memory = (byte*)cpu.Pool.Rent(bytes);
            try
            {
                batch.Sums = (double*)memory;
                batch.Positive = batch.Sums + (long)batch.Slots * padded;
                batch.Losses = batch.Positive + padded;
                batch.Scratch = (float*)(batch.Losses + padded);
                batch.ScratchFloats = scratch;
                batch.Maxima = batch.Scratch + batch.Slots * scratch;

                cpu.Workers.For(batch.RowItems, ref batch, &NtXentRows<T>.Normalize);
                batch.ShareTiles(products: 0);
                cpu.Workers.For(batch.Slots, ref batch, batch.IsFixedShift ? &NtXentTiles<T>.Forward : &NtXentOnlineTiles<T>.Forward);
                cpu.Workers.For(batch.RowItems, ref batch, &NtXentRows<T>.FinishForward);
                double loss = 0;
                for (int i = 0; i < batch.Rows.Count; i++) loss += batch.Losses[i];
                return loss / batch.Rows.Count;
            }
            finally { cpu.Pool.Return((nint)memory, bytes); }
        }

        private static void Backward<T>(CpuDevice cpu, ref NtXentBatch batch) where T : struct, ISimd<T>
        {
            batch.Divide(cpu.Workers.Count, 2 * T.Width);
            int padded = batch.Rows.PaddedRows;
            long scratch = NtXentTiles<T>.ScratchFloats(ref batch), slot = (long)padded * batch.Rows.PaddedDim;
            long bytes = 4 * (batch.Slots * (scratch + slot) + 3L * padded);
            float* memory = (float*)cpu.Pool.Rent(bytes);
            try
            {
                batch.Accumulators = memory;
                batch.Scratch = memory + batch.Slots * slot;
                batch.ScratchFloats = scratch;
                batch.PackedInverseSum = batch.Scratch + batch.Slots * scratch;
                batch.PackedShift = batch.PackedInverseSum + padded;
                batch.PackedShare = batch.PackedShift + padded;
                for (int i = 0; i < padded; i++)
                {
                    bool real = i < batch.Rows.Count;
                    int row = batch.OriginalRow(i);
                    batch.PackedInverseSum[i] = real ? batch.InverseSum[row] : 0;
                    batch.PackedShift[i] = real ? batch.Shift[row] : 0;
                    batch.PackedShare[i] = real ? batch.NegativeShare[row] : 0;
                }
                batch.ShareTiles(products: 2);
                cpu.Workers.For(batch.Slots, ref batch, &NtXentTiles<T>.Backward);
                cpu.Workers.For(batch.RowItems, ref batch, &NtXentRows<T>.FinishBackward);
            }
            finally { cpu.Pool.Return((nint)memory, bytes); }
        }
    }
}
