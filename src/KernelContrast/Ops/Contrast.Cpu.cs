using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// The family on the CPU. Within one batch, tiles of the upper triangle: a similarity and, with a fixed shift, its
/// exponential are computed once for both rows. Tiles are dealt to as many slots as there are threads by their work, in one
/// fixed way; every slot sums into memory of its own, and the slots are added in order. Memory beside inputs and
/// gradients: 2·rows·dim floats saved per side, and one more rows·dim per side and thread during backward. Where only the
/// rows get a gradient, the columns are swept once and nothing of their size is kept (<see cref="ContrastSweep{T,TEpilogue}"/>);
/// SigLIP's gradients need no sums over rows and are formed with the loss (<see cref="ContrastDirect{T,TEpilogue}"/>).
/// </summary>
internal sealed unsafe class ContrastCpu : ContrastKernels
{
    internal override long SavedBytes(Device device, in LossCall call)
    {
        LossCall sizes = call;
        sizes.Saved = 0;
        return Batch(device, sizes).PlaceSaved();
    }

    internal override long WorkspaceBytes(Device device, in LossCall call, bool backward)
    {
        LossCall sizes = call;
        sizes.Workspace = 0;
        return Batch(device, sizes).PlaceWorkspace(backward);
    }

    internal override void Forward(Device device, in LossCall call)
    {
        CheckTypes(call);
        var cpu = (CpuDevice)device;
        ContrastBatch batch = Batch(device, call);
        batch.PlaceSaved();
        batch.PlaceWorkspace(backward: false);
        batch.ReadScalars();
        switch (Simd.Bits)
        {
            case 512: Forward<F512>(cpu, ref batch); break;
            case 256: Forward<F256>(cpu, ref batch); break;
            default: Forward<F128>(cpu, ref batch); break;
        }
    }

    internal override void Backward(Device device, in LossCall call)
    {
        var cpu = (CpuDevice)device;
        ContrastBatch batch = Batch(device, call);
        batch.PlaceSaved();
        batch.PlaceWorkspace(backward: true);
        batch.ReadScalars();
        switch (Simd.Bits)
        {
            case 512: Backward<F512>(cpu, ref batch); break;
            case 256: Backward<F256>(cpu, ref batch); break;
            default: Backward<F128>(cpu, ref batch); break;
        }
    }

    private static ContrastBatch Batch(Device device, in LossCall call) => new(call, ((CpuDevice)device).Workers.Count, Simd.Bits / 32);

    private static void CheckTypes(in LossCall call)
    {
        foreach (DeviceMatrix matrix in (ReadOnlySpan<DeviceMatrix>)[call.Embeddings, call.Keys, call.Positives])
            if (matrix.Pointer != 0 && matrix.Type != DType.Float32)
                throw new NotSupportedException($"{ContrastOp.NameOf(call.Kind)} on cpu: a matrix is of {matrix.Type}; the CPU reads Float32.");
    }

    private static void Forward<T>(CpuDevice cpu, ref ContrastBatch batch) where T : struct, ISimd<T>
    {
        ContrastLabels.Fill(ref batch);
        cpu.Workers.For(Items(ref batch), ref batch, &ContrastRows<T>.Normalize);
        if (batch.IsSwept) Sweep<T>(cpu, ref batch);
        else if (batch.IsDirect) Direct<T>(cpu, ref batch);
        else
        {
            batch.ShareTiles(products: 0, readsKept: false);
            Tiles<T>(cpu, ref batch, backward: false);
        }
        cpu.Workers.For(batch.Left.Items, ref batch, &ContrastLosses.FinishLeft);
        if (!batch.IsSquare && batch.HasColumnSums) cpu.Workers.For(batch.Right.Items, ref batch, &ContrastLosses.FinishRight);
        ContrastLosses.Reduce(ref batch);
    }

    private static void Backward<T>(CpuDevice cpu, ref ContrastBatch batch) where T : struct, ISimd<T>
    {
        ContrastLosses.SetWeights(ref batch);
        if (!batch.IsOnePass)
        {
            ContrastLabels.Fill(ref batch);
            batch.ShareTiles(batch.IsSquare ? 2 : (batch.WantsLeft ? 1 : 0) + (batch.WantsRight ? 1 : 0), readsKept: true);
            Tiles<T>(cpu, ref batch, backward: true);
        }
        if (batch.WantsLeft) cpu.Workers.For(batch.Left.Items, ref batch, &ContrastRows<T>.FinishLeft);
        if (batch.WantsRight) cpu.Workers.For(batch.Right.Items, ref batch, &ContrastRows<T>.FinishRight);
        ContrastLosses.FinishScalars(ref batch);
    }

    private static int Items(ref ContrastBatch batch) => batch.Left.Items + (batch.IsSquare || batch.IsSwept ? 0 : batch.Right.Items);

    private static void Sweep<T>(CpuDevice cpu, ref ContrastBatch batch) where T : struct, ISimd<T>
    {
        if (batch.Call.Labels != 0) cpu.Workers.For(batch.Slots, ref batch, &ContrastSweep<T, MaskedRowSoftmax>.Run);
        else cpu.Workers.For(batch.Slots, ref batch, &ContrastSweep<T, RowSoftmax>.Run);
        if (batch.Call.WantsGradient) cpu.Workers.For(batch.Left.Items, ref batch, &ContrastSweep<T, RowSoftmax>.FoldLeft);
    }

    private static void Direct<T>(CpuDevice cpu, ref ContrastBatch batch) where T : struct, ISimd<T>
    {
        cpu.Workers.For(batch.Left.Items, ref batch, &ContrastLosses.CountLeft);
        batch.ShareTiles(batch.Call.WantsKeysGradient ? 2 : 1, readsKept: false);
        if (batch.Call.Labels != 0) cpu.Workers.For(batch.Slots, ref batch, &ContrastDirect<T, MaskedPairSigmoid>.Run);
        else cpu.Workers.For(batch.Slots, ref batch, &ContrastDirect<T, PairSigmoid>.Run);
        *batch.WeightSum = ContrastLosses.SumOfWeights(ref batch);
        cpu.Workers.For(batch.Left.Items, ref batch, &ContrastSweep<T, RowSoftmax>.FoldLeft);
        if (batch.Call.WantsKeysGradient) cpu.Workers.For(batch.Right.Items, ref batch, &ContrastSweep<T, RowSoftmax>.FoldRight);
    }

    private static void Tiles<T>(CpuDevice cpu, ref ContrastBatch batch, bool backward) where T : struct, ISimd<T>
    {
        bool masked = batch.Call.Labels != 0;
        if (batch.Kind == LossKind.SupCon) Tiles<T, SupervisedSoftmax>(cpu, ref batch, backward);
        else if (batch.Kind == LossKind.SigLip)
        {
            if (masked) Tiles<T, MaskedPairSigmoid>(cpu, ref batch, backward); else Tiles<T, PairSigmoid>(cpu, ref batch, backward);
        }
        else if (batch.HasColumnSums)
        {
            if (masked) Tiles<T, MaskedTwoSidedSoftmax>(cpu, ref batch, backward); else Tiles<T, TwoSidedSoftmax>(cpu, ref batch, backward);
        }
        else if (masked) Tiles<T, MaskedRowSoftmax>(cpu, ref batch, backward);
        else Tiles<T, RowSoftmax>(cpu, ref batch, backward);
    }

    private static void Tiles<T, TEpilogue>(CpuDevice cpu, ref ContrastBatch batch, bool backward)
        where T : struct, ISimd<T> where TEpilogue : struct, IContrastEpilogue
    {
        if (backward) cpu.Workers.For(batch.Slots, ref batch, &ContrastTiles<T, TEpilogue>.Backward);
        else cpu.Workers.For(batch.Slots, ref batch, &ContrastTiles<T, TEpilogue>.Forward);
    }
}
