using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// Tiles, groups, stripes and the places in memory of one call on CUDA. All depends on the shapes alone, so that the order
/// of sums is the same on every device.
/// </summary>
internal readonly struct ContrastPlan
{
    /// <summary>
    /// Of weights at once. Two thirds of the 50 MB of L2 of an H100, so that the products find the weights there; far less
    /// than the embeddings' own memory in a large batch.
    /// </summary>
    internal const long StripeBytes = 32 << 20;

    /// <summary>Blocks that fill a large GPU: two on each of 132 multiprocessors.</summary>
    internal const int FullGrid = 264;

    /// <summary>Most groups of tiles: what the partial statistics cost in memory is their square root per row.</summary>
    private const long MostGroups = 4096;

    /// <summary>Of saved memory and workspace, which are cut into arrays that kernels load 16 bytes of at a time.</summary>
    internal const int ScratchAlignment = 256;

    internal readonly int Variant, Edge, SharedBytes;
    internal readonly int Pitch, FusedBlocks, TotalColumns, TilesPerGroup, RowGroups, ColumnGroups, StripeRows, Slices, DepthPerSlice;
    internal readonly long WeightsPitch, AllTiles;
    internal readonly nint RowBytes;
    internal readonly bool HasColumns;

    // Saved.
    internal readonly nint Scalars, Rows, Keys, RowInverseNorm, ColumnInverseNorm, RowShift, RowScale, RowOffset, ColumnShift, ColumnScale, ColumnOffset, Counted;
    internal readonly long SavedBytes;

    // Workspace of the forward pass.
    internal readonly nint RowMaximum, RowSum, RowPositives, ColumnMaximum, ColumnSum, ColumnPositives, Positive, Losses, Counts;
    internal readonly long ForwardBytes;

    // Workspace of the backward pass.
    internal readonly nint Unit, ScaledRows, OffsetRows, ScaledColumns, OffsetColumns, Weights, Partial, GradColumns, ByTile;
    internal readonly long BackwardBytes;

    internal ContrastPlan(Device device, in LossCall call)
    {
        ContrastOp.CheckAligned(call, call.Saved, ScratchAlignment, nameof(call.Saved));
        ContrastOp.CheckAligned(call, call.Workspace, ScratchAlignment, nameof(call.Workspace));
        long rows = call.Rows;
        bool within = call.IsWithinBatch, twoSided = call.Kind == LossKind.Clip, online = IsOnline(call), supcon = call.Kind == LossKind.SupCon;
        TotalColumns = call.Kind == LossKind.Moco ? call.Rows + call.Columns : call.Columns;
        HasColumns = within || twoSided;
        (Variant, Edge, SharedBytes) = TileOf(device, call.Precision, rows, TotalColumns, within);
        Pitch = PitchOf(call.Dim, Variant);
        int size = call.Precision == Precision.BFloat16 ? 2 : 4;
        RowBytes = (nint)Pitch * size;

        int rowTiles = Tiles(call.Rows, Edge), columnTiles = Tiles(TotalColumns, Edge);
        TilesPerGroup = 1;
        while ((long)Tiles(rowTiles, TilesPerGroup) * Tiles(columnTiles, TilesPerGroup) > MostGroups) TilesPerGroup++;
        (RowGroups, ColumnGroups) = (Tiles(rowTiles, TilesPerGroup), Tiles(columnTiles, TilesPerGroup));

        FusedBlocks = ContrastFused.BlocksOf(device, Variant, Pitch);
        long partial;
        if (IsFused)
        {
            (partial, AllTiles) = ContrastFused.SizesOf(FusedBlocks, call.Rows, TotalColumns, Pitch);
            if (!within && call.Kind != LossKind.Moco) partial = Math.Max(partial, ContrastFused.SizesOf(FusedBlocks, TotalColumns, call.Rows, Pitch).Partial);
        }
        else
        {
            AllTiles = (long)rowTiles * columnTiles;
            (WeightsPitch, StripeRows, Slices, DepthPerSlice) = StripesOf(call.Rows, TotalColumns, Edge, Pitch, size);
            partial = (long)Slices * Math.Min(StripeRows, rows) * Pitch;
        }

        nint at = call.Saved;
        Scalars = Floats(ref at, 2);
        Counted = Floats(ref at, 1);
        Rows = Take(ref at, RowBytes * rows);
        Keys = within ? Rows : Take(ref at, (long)RowBytes * TotalColumns);
        RowInverseNorm = Floats(ref at, rows);
        ColumnInverseNorm = within ? RowInverseNorm : Floats(ref at, call.Columns);
        RowShift = Floats(ref at, rows);
        RowScale = Floats(ref at, rows);
        RowOffset = Floats(ref at, rows);
        ColumnShift = Floats(ref at, twoSided ? rows : 0);
        ColumnScale = Floats(ref at, twoSided ? rows : 0);
        ColumnOffset = Floats(ref at, twoSided ? rows : 0);
        SavedBytes = at - call.Saved;

        at = call.Workspace;
        long rowPartials = ColumnGroups * rows, columnPartials = HasColumns ? RowGroups * rows : 0;
        RowMaximum = Floats(ref at, online || call.Kind == LossKind.SigLip ? rowPartials : 0);
        RowSum = Floats(ref at, rowPartials);
        RowPositives = Take(ref at, sizeof(double) * (supcon ? rowPartials : 0));
        ColumnMaximum = Floats(ref at, online ? columnPartials : 0);
        ColumnSum = Floats(ref at, columnPartials);
        ColumnPositives = Take(ref at, sizeof(double) * (supcon ? columnPartials : 0));
        Positive = Floats(ref at, rows);
        Losses = call.Reduction == Reduction.None ? call.Loss : Floats(ref at, rows);
        Counts = call.Labels == 0 ? 0 : Floats(ref at, rows);
        ForwardBytes = at - call.Workspace;

        at = call.Workspace;
        Unit = Floats(ref at, 1);
        ScaledRows = Floats(ref at, rows);
        OffsetRows = Floats(ref at, rows);
        ScaledColumns = Floats(ref at, twoSided ? rows : 0);
        OffsetColumns = Floats(ref at, twoSided ? rows : 0);
        ByTile = Floats(ref at, AllTiles);
        Weights = Take(ref at, StripeRows * WeightsPitch * size);
        Partial = Floats(ref at, partial);
        GradColumns = Floats(ref at, IsFused || within || call.Kind == LossKind.Moco ? 0 : (long)call.Columns * Pitch);
        BackwardBytes = at - call.Workspace;
    }

    /// <summary>Whether the backward pass is that of <see cref="ContrastFused"/>, without weights in memory.</summary>
    internal bool IsFused => FusedBlocks != 0;

    /// <summary>What a score is and which columns are positives.</summary>
    internal ScoreArguments Scores(in LossCall call) => new()
    {
        A = Rows,
        B = Keys,
        RowLabels = call.Labels,
        ColumnLabels = call.Labels == 0 ? 0 : call.Kind == LossKind.Moco ? call.Labels + sizeof(int) * call.Rows : call.Labels,
        Scalars = Scalars,
        Rows = call.Rows,
        Columns = TotalColumns,
        Pitch = Pitch,
        Positives = call.Kind switch
        {
            LossKind.NtXent or LossKind.Dcl => call.Layout == PairLayout.Interleaved ? ScoreArguments.Interleaved : ScoreArguments.Halves,
            LossKind.SupCon => ScoreArguments.Labelled,
            _ => ScoreArguments.Diagonal,
        },
        FirstPositive = call.Kind == LossKind.Moco ? call.Columns : 0,
        Negatives = call.Kind == LossKind.Moco ? call.Columns : TotalColumns,
        Score = call.Kind == LossKind.SigLip ? ScoreArguments.Sigmoid : IsOnline(call) ? ScoreArguments.LogSumOnline : ScoreArguments.LogSum,
    };

    /// <summary>A temperature on the device is not known here, so there each row keeps its maximum.</summary>
    private static bool IsOnline(in LossCall call) =>
        call.Kind != LossKind.SigLip && (call.TemperatureAt != 0 || !ContrastOp.IsFixedShift(call.Temperature, call.Normalize));

    /// <summary>
    /// The tile: 64 × 64 in float32; on tensor cores 128 × 128, which reads each row from memory half as often, unless that
    /// leaves multiprocessors of a large GPU without one. In bfloat16 that of compute capability 9.0 where the device has it.
    /// </summary>
    /// <param name="device">That the kernels run on; null where there is no tile for 9.0.</param>
    /// <param name="precision">Of the products.</param>
    /// <param name="rows">Of the matrix that tiles cover.</param>
    /// <param name="columns">Of that matrix.</param>
    /// <param name="symmetric">Only half of the tiles are visited.</param>
    internal static (int Variant, int Edge, int SharedBytes) TileOf(Device? device, Precision precision, long rows, long columns, bool symmetric)
    {
        if (precision == Precision.Float32) return (0, 64, 2 * 2 * 64 * (32 * 4 + 16));
        long tiles = (rows + 127) / 128 * ((columns + 127) / 128) / (symmetric ? 2 : 1);
        int edge = tiles >= FullGrid / 2 ? 128 : 64, first = precision == Precision.Tf32 ? 1 : 3;
        HopperKernels hopper = precision == Precision.BFloat16 && device is CudaDevice cuda ? cuda.HopperKernels : HopperKernels.Off;
        // Three stages of two operands' 128 lines of 64 numbers, and what brings them to a multiple of 1024 bytes.
        if (hopper == HopperKernels.Always || (hopper == HopperKernels.On && edge == 128)) return (ContrastModule.Hopper, 128, 3 * 2 * 128 * 64 * 2 + 1024);
        // 64 bytes of the depth of each line and 16 of padding, or 64 bytes' worth of depths of all lines, with theirs.
        int inner = edge * 80, outer = precision == Precision.Tf32 ? 16 * (4 * edge + 32) : 32 * (2 * edge + 16);
        return (edge == 128 ? first : first + 1, edge, 4 * 2 * Math.Max(inner, outer));
    }

    /// <summary>
    /// The rows of a stripe of weights, of elements of so many bytes, and the slices that its product with [columns, pitch] is
    /// cut into along its depth.
    /// </summary>
    internal static (long WeightsPitch, int StripeRows, int Slices, int DepthPerSlice) StripesOf(int rows, int columns, int edge, int pitch, int size)
    {
        int rowTiles = Tiles(rows, edge), columnTiles = Tiles(columns, edge);
        long weightsPitch = (long)columnTiles * edge;
        int stripeRows = (int)Math.Clamp(StripeBytes / (weightsPitch * size * edge), 1, rowTiles) * edge;
        // A stripe's product has few tiles when rows are short; its depth is then cut, but not below eight tiles.
        int blocks = Tiles(stripeRows, edge) * Tiles(pitch, edge);
        int depthPerSlice = Tiles(columnTiles, Math.Clamp(FullGrid / blocks, 1, Math.Max(1, columnTiles / 8))) * edge;
        return (weightsPitch, stripeRows, Tiles(columns, depthPerSlice), depthPerSlice);
    }

    /// <summary>Elements from one prepared row to the next: a whole number of the steps that a variant's loop over the depth takes, at least 32.</summary>
    internal static int PitchOf(int dim, int variant) => variant == ContrastModule.Hopper ? (dim + 63) / 64 * 64 : (dim + 31) / 32 * 32;

    internal static int Tiles(int lines, int edge) => (int)(((long)lines + edge - 1) / edge);

    /// <summary>
    /// A grid with a block for each tile of a matrix: tiles of columns along x, or exchanged, tiles of lines. Of x CUDA allows
    /// 2^31 − 1 blocks, of y 65,535, which are 4,194,240 lines in tiles of 64. A matrix of floats beyond that both ways has 70 TB.
    /// </summary>
    internal static LaunchShape GridOf(int lines, int columns, int edge, int sharedBytes, out bool exchanged)
    {
        int down = Tiles(lines, edge), across = Tiles(columns, edge);
        exchanged = down > LaunchShape.MostGridY;
        return new(exchanged ? down : across, 256, exchanged ? across : down, SharedBytes: sharedBytes);
    }

    internal static nint Floats(ref nint at, long count) => Take(ref at, sizeof(float) * count);

    internal static nint Take(ref nint at, long bytes)
    {
        nint here = at;
        at += (nint)((bytes + 255) / 256 * 256);
        return here;
    }
}

/// <summary>The kernels of <c>kernels/contrast</c>; arrays are by <see cref="ContrastPlan.Variant"/>.</summary>
internal static class ContrastModule
{
    private const string Tiles = "contrast/contrastive", ByRow = "contrast/contrastive_rows";
    private static readonly string[] Variants = ["f32", "tf32", "tf32_small", "bf16", "bf16_small"];

    /// <summary>The last variant: bfloat16 by wgmma, in files of its own, since only GPUs of compute capability 9.0 can load them.</summary>
    internal const int Hopper = 5;


    internal static readonly CudaKernel Prepare = new(ByRow, "contrastive_prepare");
    internal static readonly CudaKernel Counts = new(Tiles, "contrastive_counts");
    internal static readonly CudaKernel[] Statistics = OfEach(Tiles, "contrastive_statistics");
    internal static readonly CudaKernel Losses = new(ByRow, "contrastive_losses");
    internal static readonly CudaKernel Reduce = new(ByRow, "contrastive_reduce");
    internal static readonly CudaKernel Coefficients = new(ByRow, "contrastive_coefficients");
    internal static readonly CudaKernel[] Weights = OfEach(Tiles, "contrastive_weights");
    internal static readonly CudaKernel[] Product = OfEach(Tiles, "contrastive_product");
    internal static readonly CudaKernel Gradient = new(ByRow, "contrastive_gradient");
    internal static readonly CudaKernel ScalarGradients = new(ByRow, "contrastive_scalar_gradients");

    /// <summary>A kernel in each variant.</summary>
    internal static CudaKernel[] OfEach(string module, string name) => [.. OfEachBut(module, name), new CudaKernel($"{module}_hopper", $"{name}_hopper")];

    /// <summary>A kernel in each variant but <see cref="Hopper"/>.</summary>
    internal static CudaKernel[] OfEachBut(string module, string name) => [.. Variants.Select(variant => new CudaKernel(module, $"{name}_{variant}"))];

    /// <summary>z = h/‖h‖ of [rows, dim], rounded, in rows of a pitch; 1/‖h‖ and, with a temperature of 1, the scalars where they have addresses.</summary>
    internal static unsafe void Normalize(Device device, nint z, nint inverseNorm, DeviceMatrix h, int rows, int dim, int pitch, Precision precision, nint stream, nint scalars = 0)
    {
        var prepare = new PrepareArguments
        {
            Z = z,
            InverseNorm = inverseNorm,
            Scalars = scalars,
            H = h.Pointer,
            Stride = h.RowStride,
            Temperature = 1,
            Rows = rows,
            Dim = dim,
            Pitch = pitch,
            Normalize = 1,
            Precision = (int)precision,
            FromBFloat16 = h.Type == DType.BFloat16 ? 1 : 0,
        };
        Prepare.Launch(device, LaunchShape.WarpPerItem(rows) with { Stream = stream }, KernelArgument.Struct(&prepare));
    }
}

// The kernels' arguments, field by field as they declare them.

internal struct ScoreArguments
{
    internal const int Halves = 0, Interleaved = 1, Diagonal = 2, Labelled = 3;
    internal const int LogSum = 0, LogSumOnline = 1, Sigmoid = 2;

    internal nint A, B, RowLabels, ColumnLabels, Scalars;
    internal int Rows, Columns, Pitch, Positives, FirstPositive, Negatives, Score;
}

internal struct StatisticsArguments
{
    internal ScoreArguments Scores;
    internal nint RowMaximum, RowSum, RowPositives, ColumnMaximum, ColumnSum, ColumnPositives, Positive;
    internal int TilesPerGroup, Symmetric;
}

internal struct WeightsArguments
{
    internal ScoreArguments Scores;
    internal nint Weights, RowShift, RowScale, RowOffset, ColumnShift, ColumnScale, ColumnOffset, ByTile;
    internal long WeightsPitch;
    internal int FirstRow;
}

internal struct ProductArguments
{
    internal nint Out, Weights, Z;
    internal long WeightsPitch;
    internal int Lines, Depth, DepthPerSlice, Pitch, ByColumn, Accumulate, Exchanged;
}

internal struct PrepareArguments
{
    internal nint Z, InverseNorm, Scalars, H, TemperatureAt, BiasAt;
    internal long Stride;
    internal float Temperature, Bias;
    internal int Rows, Dim, Pitch, Normalize, Precision, FromBFloat16;
}

internal struct LossesArguments
{
    internal nint Losses, RowShift, RowScale, RowOffset, ColumnShift, ColumnScale, ColumnOffset;
    internal nint RowPartialMaximum, RowPartialSum, RowPartialPositives, ColumnPartialMaximum, ColumnPartialSum, ColumnPartialPositives;
    internal nint Positive, Counts, Scalars;
    internal int Rows, RowGroups, ColumnGroups, GroupLines, Edge, Score, Symmetric, TwoSided, Labelled, PositiveApart;
}

internal struct GradientArguments
{
    internal nint Grad, Partial, Z, InverseNorm, Scalars, Unit;
    internal long Stride;
    internal int Rows, Dim, Pitch, Slices, Precision;
}
