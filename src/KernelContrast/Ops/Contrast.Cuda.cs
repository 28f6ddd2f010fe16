using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class NtXentOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class DclOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class SupConOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class InfoNceOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class ClipOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class SigLipOp
{
    internal sealed class Cuda : ContrastCuda;
}

internal static partial class MocoOp
{
    internal sealed class Cuda : ContrastCuda;
}

/// <summary>
/// The whole family on CUDA: the kernels of <c>kernels/contrast</c> and their geometry. A kind is a rule for which columns
/// are positives and negatives, a score, and the sides that have statistics; <see cref="ContrastPlan"/> has the shapes.
/// </summary>
/// <remarks>
/// Forward: prepare the rows, statistics by tiles, losses by rows, their sum. Backward: for each stripe of rows its weights
/// (as many as fit <see cref="ContrastPlan.StripeBytes"/>), then weights × columns for the stripe's rows and weightsᵀ × rows
/// added to the columns' gradient. MoCo's columns are the queue, then the keys. On compute capability 9.0 <see cref="ContrastFused"/>
/// says when weights and products are one kernel.
/// </remarks>
internal abstract unsafe class ContrastCuda : ContrastKernels
{
    internal override long SavedBytes(Device device, in LossCall call) => new ContrastPlan(device, call).SavedBytes;

    internal override long WorkspaceBytes(Device device, in LossCall call, bool backward)
    {
        var plan = new ContrastPlan(device, call);
        return backward ? plan.BackwardBytes : plan.ForwardBytes;
    }

    internal override void Forward(Device device, in LossCall call)
    {
        var plan = new ContrastPlan(device, call);
        Prepare(call.Embeddings, call.Rows, plan.Rows, plan.RowInverseNorm, call, first: true);
        if (plan.Keys != plan.Rows) Prepare(call.Keys, call.Columns, plan.Keys, plan.ColumnInverseNorm, call, first: false);
        if (call.Kind == LossKind.Moco) Prepare(call.Positives, call.Rows, plan.Keys + plan.RowBytes * call.Columns, 0, call, first: false);

        ScoreArguments scores = plan.Scores(call);
        if (plan.Counts != 0)
            ContrastModule.Counts.Launch(device, LaunchShape.WarpPerItem(call.Rows) with { Stream = call.Stream }, (long)plan.Counts, KernelArgument.Struct(&scores));

        bool online = scores.Score != ScoreArguments.LogSum, labelled = call.Kind == LossKind.SupCon;
        var statistics = new StatisticsArguments
        {
            Scores = scores,
            RowMaximum = online ? plan.RowMaximum : 0,
            RowSum = plan.RowSum,
            RowPositives = labelled ? plan.RowPositives : 0,
            ColumnMaximum = online ? plan.ColumnMaximum : 0,
            ColumnSum = plan.HasColumns ? plan.ColumnSum : 0,
            ColumnPositives = labelled ? plan.ColumnPositives : 0,
            Positive = plan.Positive,
            TilesPerGroup = plan.TilesPerGroup,
            Symmetric = call.IsWithinBatch ? 1 : 0,
        };
        ContrastModule.Statistics[plan.Variant].Launch(device,
            new(plan.ColumnGroups, 256, plan.RowGroups, SharedBytes: plan.SharedBytes) { Stream = call.Stream }, KernelArgument.Struct(&statistics));

        var losses = new LossesArguments
        {
            Losses = plan.Losses,
            RowShift = plan.RowShift,
            RowScale = plan.RowScale,
            RowOffset = plan.RowOffset,
            ColumnShift = plan.ColumnShift,
            ColumnScale = plan.ColumnScale,
            ColumnOffset = plan.ColumnOffset,
            RowPartialMaximum = statistics.RowMaximum,
            RowPartialSum = statistics.RowSum,
            RowPartialPositives = statistics.RowPositives,
            ColumnPartialMaximum = statistics.ColumnMaximum,
            ColumnPartialSum = statistics.ColumnSum,
            ColumnPartialPositives = statistics.ColumnPositives,
            Positive = plan.Positive,
            Counts = plan.Counts,
            Scalars = plan.Scalars,
            Rows = call.Rows,
            RowGroups = plan.RowGroups,
            ColumnGroups = plan.ColumnGroups,
            GroupLines = plan.TilesPerGroup * plan.Edge,
            Edge = plan.Edge,
            Score = scores.Score,
            Symmetric = statistics.Symmetric,
            TwoSided = call.Kind == LossKind.Clip ? 1 : 0,
            Labelled = labelled ? 1 : 0,
            PositiveApart = call.Kind == LossKind.Dcl ? 1 : 0,
        };
        LaunchShape byRow = ThreadPerRow(call.Rows, call.Stream);
        ContrastModule.Losses.Launch(device, byRow, KernelArgument.Struct(&losses));
        bool each = call.Reduction == Reduction.None;
        ContrastModule.Reduce.Launch(device, new(1, 256) { Stream = call.Stream }, each ? 0L : (long)call.Loss, (long)plan.Counted, (long)plan.Losses,
            (long)plan.Counts, call.Rows, call.Reduction == Reduction.Mean);

        void Prepare(DeviceMatrix from, int rows, nint z, nint inverseNorm, in LossCall call, bool first)
        {
            if (!from.Type.IsFloat())
                throw new NotSupportedException($"{ContrastOp.NameOf(call.Kind)} on {device}: a matrix is of {from.Type}, expected Float32 or BFloat16.");
            var prepare = new PrepareArguments
            {
                Z = z,
                InverseNorm = call.Normalize ? inverseNorm : 0,
                Scalars = first ? plan.Scalars : 0,
                H = from.Pointer,
                TemperatureAt = call.TemperatureAt,
                BiasAt = call.BiasAt,
                Stride = from.RowStride,
                Temperature = call.Temperature,
                Bias = call.Bias,
                Rows = rows,
                Dim = call.Dim,
                Pitch = plan.Pitch,
                Normalize = call.Normalize ? 1 : 0,
                Precision = (int)call.Precision,
                FromBFloat16 = from.Type == DType.BFloat16 ? 1 : 0,
            };
            ContrastModule.Prepare.Launch(device, LaunchShape.WarpPerItem(rows) with { Stream = call.Stream }, KernelArgument.Struct(&prepare));
        }
    }

    internal override void Backward(Device device, in LossCall call)
    {
        var plan = new ContrastPlan(device, call);
        nint stream = call.Stream;
        LaunchShape byRow = ThreadPerRow(call.Rows, stream);
        ContrastModule.Coefficients.Launch(device, byRow, (long)plan.Unit, (long)plan.ScaledRows, (long)plan.OffsetRows, (long)plan.RowScale, (long)plan.RowOffset,
            (long)call.GradLoss, (long)plan.Counted, call.Rows, (int)call.Reduction);
        if (call.Kind == LossKind.Clip)
            ContrastModule.Coefficients.Launch(device, byRow, (long)plan.Unit, (long)plan.ScaledColumns, (long)plan.OffsetColumns, (long)plan.ColumnScale, (long)plan.ColumnOffset,
                (long)call.GradLoss, (long)plan.Counted, call.Rows, (int)call.Reduction);

        var products = new ContrastProducts
        {
            Device = device,
            Stream = call.Stream,
            Precision = call.Precision,
            Variant = plan.Variant,
            Edge = plan.Edge,
            SharedBytes = plan.SharedBytes,
            Dim = call.Dim,
            Pitch = plan.Pitch,
            Weights = plan.Weights,
            WeightsPitch = plan.WeightsPitch,
            Scalars = plan.Scalars,
            Unit = plan.Unit,
        };
        bool rowsWanted = call.GradEmbeddings.Pointer != 0, columnsWanted = call.GradKeys.Pointer != 0;
        if (plan.IsFused)
        {
            if (rowsWanted || call.GradTemperature != 0) Fused(call, exchanged: false);
            if (columnsWanted) Fused(call, exchanged: true);
        }
        else Stripes(call);
        if (call.GradTemperature != 0 || call.GradBias != 0)
            ContrastModule.ScalarGradients.Launch(device, new(1, 256) { Stream = stream }, (long)call.GradTemperature, (long)call.GradBias, (long)plan.ByTile,
                (long)plan.OffsetRows, (long)plan.Scalars, (long)plan.Unit, call.IsWithinBatch ? 0.5f : 1f, plan.AllTiles, call.Rows);

        void Stripes(in LossCall call)
        {
            for (int first = 0; (rowsWanted || columnsWanted || call.GradTemperature != 0) && first < call.Rows; first += plan.StripeRows)
            {
                int stripe = Math.Min(plan.StripeRows, call.Rows - first);
                Weights(call, first, stripe);
                if (rowsWanted)
                {
                    products.Product(plan.Partial, plan.Keys, lines: stripe, depth: plan.TotalColumns, plan.DepthPerSlice, plan.Slices, byColumn: false, accumulate: false);
                    products.Gradient(call.GradEmbeddings, first, stripe, plan.Partial, plan.Rows, call.Normalize ? plan.RowInverseNorm : 0, plan.Slices);
                }
                if (columnsWanted)
                    products.Product(plan.GradColumns, plan.Rows + plan.RowBytes * first, lines: call.Columns, depth: stripe, int.MaxValue, 1, byColumn: true, accumulate: first > 0);
            }
            if (columnsWanted) products.Gradient(call.GradKeys, 0, call.Columns, plan.GradColumns, plan.Keys, call.Normalize ? plan.ColumnInverseNorm : 0, 1);
        }

        // The gradient of the rows, or exchanged, of the columns.
        void Fused(in LossCall call, bool exchanged)
        {
            bool within = call.IsWithinBatch, online = plan.Scores(call).Score == ScoreArguments.LogSumOnline;
            var rows = new CoefficientArguments { Shift = online ? plan.RowShift : 0, Scale = plan.ScaledRows, Offset = plan.OffsetRows };
            CoefficientArguments columns = within ? rows : default;
            if (call.Kind == LossKind.Clip) columns = new() { Shift = online ? plan.ColumnShift : 0, Scale = plan.ScaledColumns, Offset = plan.OffsetColumns };
            int lines = exchanged ? plan.TotalColumns : call.Rows, others = exchanged ? call.Rows : plan.TotalColumns;
            nint byTile = exchanged || call.GradTemperature == 0 ? 0 : plan.ByTile;
            for (int first = 0, stripe; first < lines; first += stripe)
            {
                stripe = ContrastFused.StripeOf(plan.FusedBlocks, lines, first);
                (int slices, int perSlice) = ContrastFused.SlicesOf(plan.FusedBlocks, stripe, others);
                int tiles = ContrastPlan.Tiles(stripe, ContrastFused.Lines);
                var fused = new FusedArguments
                {
                    Scores = plan.Scores(call),
                    Out = plan.Partial,
                    ByTile = byTile,
                    Own = exchanged ? columns : rows,
                    Others = exchanged ? rows : columns,
                    FirstLine = first,
                    Lines = stripe,
                    PerSlice = perSlice,
                    Exchanged = exchanged ? 1 : 0,
                };
                ContrastFused.Kernel(plan.Pitch, fused.Scores.Score).Launch(device, new(slices, 256, tiles, SharedBytes: ContrastFused.SharedBytes(plan.Pitch)) { Stream = stream },
                    KernelArgument.Struct(&fused));
                if (byTile != 0) byTile += sizeof(float) * slices * tiles;
                if (exchanged) products.Gradient(call.GradKeys, first, stripe, plan.Partial, plan.Keys, call.Normalize ? plan.ColumnInverseNorm : 0, slices);
                else if (call.GradEmbeddings.Pointer != 0)
                    products.Gradient(call.GradEmbeddings, first, stripe, plan.Partial, plan.Rows, call.Normalize ? plan.RowInverseNorm : 0, slices);
            }
        }

        void Weights(in LossCall call, int first, int stripe)
        {
            // Within one batch the columns are the rows.
            bool within = call.IsWithinBatch, columns = within || call.Kind == LossKind.Clip;
            var weights = new WeightsArguments
            {
                Scores = plan.Scores(call),
                Weights = plan.Weights,
                RowShift = plan.RowShift,
                RowScale = plan.ScaledRows,
                RowOffset = plan.OffsetRows,
                ColumnShift = within ? plan.RowShift : columns ? plan.ColumnShift : 0,
                ColumnScale = within ? plan.ScaledRows : columns ? plan.ScaledColumns : 0,
                ColumnOffset = within ? plan.OffsetRows : columns ? plan.OffsetColumns : 0,
                ByTile = call.GradTemperature == 0 ? 0 : plan.ByTile,
                WeightsPitch = plan.WeightsPitch,
                FirstRow = first,
            };
            ContrastModule.Weights[plan.Variant].Launch(device, new(ContrastPlan.Tiles(plan.TotalColumns, plan.Edge), 256, ContrastPlan.Tiles(stripe, plan.Edge),
                SharedBytes: plan.SharedBytes)
            { Stream = stream }, KernelArgument.Struct(&weights));
        }
    }

    private static LaunchShape ThreadPerRow(int rows, nint stream) => new((rows + 255) / 256, 256) { Stream = stream };
}
