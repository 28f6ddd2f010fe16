using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// How normalised rows are stored. Twice: by panels of <see cref="Panel"/> rows with the column outermost, for the
/// similarities, and by panels of as many columns with the row outermost, for the gradients. Padding is zero. Where pairs
/// stand in one batch, partners lie side by side (2i and 2i + 1) whatever the caller's layout, so that every pair lies in
/// one tile on the diagonal.
/// </summary>
internal readonly struct PackedRows(int rows, int dim, int panel)
{
    internal int Count => rows;
    internal int Dim => dim;
    internal int Panel => panel;
    internal int PaddedRows { get; } = (rows + panel - 1) / panel * panel;
    internal int PaddedDim { get; } = (dim + panel - 1) / panel * panel;

    internal long Floats => (long)PaddedRows * (dim + PaddedDim);

    /// <summary>Floats of sums of weighted rows, one for each row: [padded rows][padded dim].</summary>
    internal long Sums => (long)PaddedRows * PaddedDim;

    /// <summary>Where a row's panel starts among the panels of rows: [panel][column][row within].</summary>
    internal long RowPanel(int row) => (long)(row / panel) * panel * dim;

    /// <summary>Where a row starts in a panel of columns: [panel][row][column within].</summary>
    internal long ColumnPanel(int row, int columnPanel) =>
        (long)PaddedRows * dim + ((long)columnPanel * PaddedRows + row) * panel;
}

/// <summary>One side of the products: the rows, or what they are contrasted with. Arrays are in the order of packing.</summary>
internal unsafe struct ContrastSide
{
    internal PackedRows Rows;
    internal int Block, Blocks;
    internal DeviceMatrix Source, Gradient;

    // saved: z, and per row 1/‖h‖, the shift m, r and the share that weighs its positive (0 where the row does not count)
    internal float* Z, InverseSum, Share;
    internal double* InverseNorm, Shift;

    /// <summary>Saved, in one pass: [rows][padded dim], sums of weighted rows of the other side (swept: Σ E_ij k_j).</summary>
    internal float* GradientSums;

    /// <summary>No two equal unless rows share a label.</summary>
    internal int* Labels;

    // forward: [slots][rows] sums of the epilogue, running maxima and sums of SupCon's positives; [rows] losses
    internal double* Sums, PositiveSums, Losses, Maxima;

    // backward: u·r and u·share of each row, [slots][rows][padded dim] gradients (in one pass: forward), [rows] z·g
    internal float* Weight, PositiveWeight, Accumulators;
    internal double* Along;

    internal readonly int BlockRows(int block) => Math.Min(Block, Rows.PaddedRows - block * Block);

    internal readonly int Items => (Rows.PaddedRows + ContrastBatch.RowsPerItem - 1) / ContrastBatch.RowsPerItem;
}

/// <summary>What the CPU kernels of the family share: where everything is, and how the work is divided.</summary>
internal unsafe struct ContrastBatch
{
    /// <summary>Rows to a side of a tile: the weights of a tile (64 KiB) stay in the L2 cache.</summary>
    private const int MaxBlock = 128;

    /// <summary>Of tiles taken in rows against keys: what a block of keys brings into the cache serves more rows (2 to 5 % of the time at 4096 × 4096).</summary>
    private const int MaxTallBlock = 2 * MaxBlock;

    /// <summary>Of a product of 128 columns: similarities from memory and their exponentials.</summary>
    private const double ReadingWork = 0.3;

    /// <summary>From here on reading a similarity was seen to take less time than multiplying again (docs/performance.md).</summary>
    private const int LeastKeptDim = 32;

    /// <summary>Rows normalised or finished by one item of a parallel job.</summary>
    internal const int RowsPerItem = 64;

    internal readonly LossCall Call;
    internal readonly LossKind Kind;

    /// <summary>Whether rows are contrasted with themselves: then both sides are the same memory, and tiles are symmetric.</summary>
    internal readonly bool IsSquare, IsPaired;

    /// <summary>Whether the columns are swept once (<see cref="ContrastSweep{T,TEpilogue}"/>). A temperature that is read only later could turn out too low for it.</summary>
    internal readonly bool IsSwept;

    /// <summary>Whether forward forms the gradients too (<see cref="ContrastDirect{T,TEpilogue}"/>): one upstream gradient is left to the end.</summary>
    internal readonly bool IsDirect;

    internal readonly bool IsOnePass => IsSwept || IsDirect;

    internal ContrastSide Left, Right;
    internal float Temperature, Bias;

    /// <summary>Whether plain float32 similarities and one shift for all rows are exact enough; else similarities are doubles.</summary>
    internal bool IsFixedShift;

    /// <summary>
    /// Whether rows enter similarities as the caller's, to be divided by their norms in double: then they lie so among the
    /// panels of rows. In a lower precision it is the rounded rows' similarities that are wanted.
    /// </summary>
    internal readonly bool IsScaledInDouble => !IsFixedShift && Call.Normalize && Call.Precision == Precision.Float32;

    /// <summary>[rows]: the positive's similarity, where a row has one positive.</summary>
    internal double* Positive;

    /// <summary>Saved: how many rows count.</summary>
    internal double* Counted;

    /// <summary>Saved, where positives are no columns of the tiles: [rows][padded dim], the normalised keys.</summary>
    internal float* Keys;

    /// <summary>[slots]: sums of weights, where the bias wants its gradient; saved, in one pass: of all slots.</summary>
    internal double* WeightSums, WeightSum;

    /// <summary>Saved, where the call has room for them: all tiles' similarities (<see cref="KeptTile"/>).</summary>
    internal float* Kept;

    internal float* Scratch;
    internal long ScratchFloats, BlockFloats, KeptFloats;
    internal int Slots;
    internal bool WantsLeft, WantsRight, WantsBias;

    /// <summary>From sums of weights times z to gradients.</summary>
    internal double GradientScale;

    private double _work, _diagonalWork, _totalWork;

    /// <param name="call">The problem; addresses that are 0 count for sizes only.</param>
    /// <param name="slots">Into how many parts the tiles are dealt, each with sums of its own.</param>
    /// <param name="width">Floats of a vector.</param>
    internal ContrastBatch(in LossCall call, int slots, int width) : this()
    {
        (Call, Kind, Slots) = (call, call.Kind, slots);
        IsSquare = call.IsWithinBatch;
        IsPaired = Kind is LossKind.NtXent or LossKind.Dcl;
        IsSwept = (Kind == LossKind.Moco || Kind == LossKind.InfoNce && !call.WantsKeysGradient)
            && call.TemperatureAt == 0 && ContrastOp.IsFixedShift(call.Temperature, call.Normalize);
        IsDirect = Kind == LossKind.SigLip && call.WantsGradient && call.Reduction != Reduction.None;
        int panel = 2 * width, dim = call.Dim;
        // Slots that sweep share out columns alone.
        Left = Side(call.Rows, call.Embeddings, call.GradEmbeddings, IsSwept ? 1 : 4 * slots, IsSquare || IsSwept ? MaxBlock : MaxTallBlock);
        Right = IsSquare ? Left : Side(call.Columns, call.Keys, call.GradKeys, 4 * slots);
        WantsLeft = call.GradEmbeddings.Pointer != 0 || call.GradTemperature != 0;
        WantsRight = !IsSquare && call.GradKeys.Pointer != 0;
        WantsBias = call.GradBias != 0;
        BlockFloats = IsSwept ? new PackedRows(Right.Block, dim, panel).Floats : 0;
        ScratchFloats = ContrastScratch.Floats(Left.Block, Right.Block, width, canWiden: !IsSwept) + BlockFloats;
        // Whatever τ: below 0.023 similarities are doubles and not kept, but a τ set anew must not need more memory than was asked for.
        if (call.WantsGradient && !IsOnePass && dim >= LeastKeptDim && call.Normalize)
            KeptFloats = EndOfTile(Left.Blocks - 1, Right.Blocks - 1);
        if (KeptFloats > call.MostKeptBytes / sizeof(float)) KeptFloats = 0;

        ContrastSide Side(int rows, DeviceMatrix source, DeviceMatrix gradient, int parts, int most = MaxBlock)
        {
            // Large tiles, but enough for all threads to end together.
            var packed = new PackedRows(rows, dim, panel);
            int wanted = (packed.PaddedRows / parts + panel - 1) / panel * panel;
            int block = Math.Clamp(wanted, panel, most);
            return new() { Rows = packed, Block = block, Blocks = (packed.PaddedRows + block - 1) / block, Source = source, Gradient = gradient };
        }
    }

    /// <summary>Whether a row's positive is a key of its own, kept apart from the columns.</summary>
    internal readonly bool HasKeys => Kind == LossKind.Moco || IsSwept;

    internal readonly bool HasColumnSums => IsSquare || Kind == LossKind.Clip;

    /// <summary>Reads the scalars. The one place that needs them: the rest of a batch follows from sizes.</summary>
    internal void ReadScalars()
    {
        Temperature = Call.TemperatureAt == 0 ? Call.Temperature : *(float*)Call.TemperatureAt;
        Bias = Kind != LossKind.SigLip ? 0 : Call.BiasAt == 0 ? Call.Bias : *(float*)Call.BiasAt;
        // SigLIP's too, whatever its bias: |s/τ| ≤ 44, so beyond |b| = 131 e^x is 0 or x as good as b, and up to there rounding costs < 1e-5 of e^x.
        IsFixedShift = ContrastOp.IsFixedShift(Temperature, Call.Normalize);
    }

    /// <summary>Sets the addresses of what forward saves.</summary>
    /// <returns>Bytes of it.</returns>
    internal long PlaceSaved()
    {
        var place = new Place(Call.Saved);
        Counted = place.Doubles(1);
        WeightSum = place.Doubles(1);
        Saved(ref Left, ref place, IsOnePass && Call.WantsGradient);
        if (IsSquare) Mirror();
        else if (!IsSwept) Saved(ref Right, ref place, IsDirect && Call.WantsKeysGradient);
        if (HasKeys) Keys = place.Floats(Left.Rows.Sums);
        Kept = place.Floats(KeptFloats);
        return place.Bytes;

        static void Saved(ref ContrastSide side, ref Place place, bool sums)
        {
            int padded = side.Rows.PaddedRows;
            side.Z = place.Floats(side.Rows.Floats);
            side.InverseNorm = place.Doubles(padded);
            side.Shift = place.Doubles(padded);
            side.InverseSum = place.Floats(padded);
            side.Share = place.Floats(padded);
            side.GradientSums = place.Floats(sums ? side.Rows.Sums : 0);
        }
    }

    /// <summary>Sets the addresses of a pass's scratch memory.</summary>
    /// <returns>Bytes of it.</returns>
    internal long PlaceWorkspace(bool backward)
    {
        var place = new Place(Call.Workspace);
        Scratch = place.Floats(IsOnePass && backward ? 0 : Slots * ScratchFloats);
        Positive = place.Doubles(backward ? 0 : Left.Rows.PaddedRows);
        WeightSums = place.Doubles(Slots);
        // One pass has its sums of gradients forward, one for each slot, and backward one for all.
        int slots = IsOnePass && backward ? 1 : Slots;
        Workspace(ref Left, ref place, slots, backward, sums: true, backward ? WantsLeft : IsOnePass && Call.WantsGradient, Kind == LossKind.SupCon);
        if (IsDirect && !backward) Weights(ref Left, ref place);
        if (IsSquare) Mirror();
        else if (!IsSwept || !backward) Workspace(ref Right, ref place, slots, backward, HasColumnSums, backward ? WantsRight : IsDirect && Call.WantsKeysGradient, positives: false);
        return place.Bytes;

        static void Weights(ref ContrastSide side, ref Place place)
        {
            side.Weight = place.Floats(side.Rows.PaddedRows);
            side.PositiveWeight = place.Floats(side.Rows.PaddedRows);
        }

        static void Workspace(ref ContrastSide side, ref Place place, int slots, bool backward, bool sums, bool gradient, bool positives)
        {
            int padded = side.Rows.PaddedRows;
            side.Labels = place.Ints(padded);
            side.Accumulators = place.Floats(gradient ? slots * side.Rows.Sums : 0);
            if (backward)
            {
                Weights(ref side, ref place);
                side.Along = place.Doubles(gradient ? padded : 0);
                return;
            }
            side.Sums = place.Doubles(sums ? (long)slots * padded : 0);
            side.Maxima = place.Doubles(sums ? (long)slots * padded : 0);
            side.PositiveSums = place.Doubles(positives ? (long)slots * padded : 0);
            side.Losses = place.Doubles(sums ? padded : 0);
        }
    }

    private void Mirror() => Right = Left;

    /// <summary>Factor from a similarity to a base-2 exponent.</summary>
    internal readonly double Log2Scale => Math.Log2(Math.E) / Temperature;

    /// <summary>The caller's index of a row of the left side; of the right side it is the same unless it is the left.</summary>
    internal readonly int OriginalRow(int row) =>
        !IsPaired || Call.Layout == PairLayout.Interleaved ? row : (row >> 1) + (row & 1) * (Left.Rows.Count / 2);

    /// <summary>The column of a row's positive when that is one and in the tiles; else one that none is.</summary>
    internal readonly int PositiveOf(int row) => IsPaired ? row ^ 1 : IsSquare || Kind == LossKind.Moco ? -1 : row;

    /// <summary>Whether a part of a tile holds pairs (then on the diagonal), columns of padding, or rows of it that would enter columns' sums.</summary>
    internal readonly bool IsSpecial(int row, int rows, int column) =>
        (Kind != LossKind.Moco && row < column + Right.Rows.Panel && column < row + rows)
        || column + Right.Rows.Panel > Right.Rows.Count || row + rows > Left.Rows.Count;

    internal readonly int FirstColumnBlock(int i) => IsSquare ? i : 0;

    /// <summary>
    /// Where forward leaves a tile's similarities and backward finds them, [panel of columns][row][column within]; null
    /// where none are kept and backward multiplies again.
    /// </summary>
    internal readonly float* KeptTile(int i, int j)
    {
        if (KeptFloats == 0 || !IsFixedShift) return null;
        return Kept + EndOfTile(i, j) - (long)Left.BlockRows(i) * Right.BlockRows(j);
    }

    /// <summary>Floats of all tiles up to this one; those before it in its row of blocks and the rows above are whole.</summary>
    private readonly long EndOfTile(int i, int j)
    {
        long above = (long)Left.Block * i * Right.Rows.PaddedRows, first = 0;
        if (IsSquare) (above, first) = (above - (long)Left.Block * Left.Block * i * (i - 1) / 2, i);
        return above + (long)Left.BlockRows(i) * ((j - first) * Right.Block + Right.BlockRows(j));
    }

    /// <summary>
    /// Prepares <see cref="SlotOf"/>: a tile has one product of similarities, of which a tile on the diagonal computes a
    /// little more than half, and off the diagonal <paramref name="products"/> more of the same size, on it half as many.
    /// Similarities that were kept cost <see cref="ReadingWork"/> of a product.
    /// </summary>
    internal void ShareTiles(int products, bool readsKept)
    {
        int panels = Left.Block / Left.Rows.Panel;
        double similarities = readsKept && KeptFloats != 0 && IsFixedShift ? ReadingWork : 1;
        _work = similarities + products;
        _diagonalWork = similarities * (panels + 1) / (2.0 * panels) + products / 2;
        _totalWork = 0;
        for (int i = 0; i < Left.Blocks; i++)
            for (int j = FirstColumnBlock(i); j < Right.Blocks; j++) _totalWork += Work(i, j);
    }

    internal readonly double Work(int i, int j) => (IsSquare && i == j ? _diagonalWork : _work) * Left.BlockRows(i) * Right.BlockRows(j);

    /// <summary>Which slot computes a tile, given the work of all tiles before it.</summary>
    internal readonly int SlotOf(double before, double work) => Math.Min(Slots - 1, (int)((before + work / 2) * Slots / _totalWork));

    /// <summary>Hands memory out in pieces that begin on cache lines; from address 0 it only counts.</summary>
    private struct Place(nint start)
    {
        private long _at = start;

        internal readonly long Bytes => _at - start;

        internal float* Floats(long count) => (float*)Take(4 * count);

        internal double* Doubles(long count) => (double*)Take(8 * count);

        internal int* Ints(long count) => (int*)Take(4 * count);

        private void* Take(long bytes)
        {
            long here = _at;
            _at += (bytes + 63) / 64 * 64;
            return (void*)here;
        }
    }
}

/// <summary>A slot's scratch memory: a tile, of floats or doubles, a product of registers, sums, zeros, rows in double.</summary>
internal static unsafe class ContrastScratch
{
    /// <summary>Numbers from one row of a tile to the next: no power of two, so that rows spread over the cache's sets.</summary>
    internal const int WeightRow = 144;

    /// <summary>Rows of the largest product of registers, times its columns.</summary>
    internal const int MicroFloats = 14 * 32;

    /// <summary>Columns of rows that are doubles at a time: a panel of either side stays in the L1 cache.</summary>
    internal const int WidenedDepths = 64;

    internal static long Floats(int leftBlock, int rightBlock, int width, bool canWiden)
    {
        int block = Math.Max(leftBlock, rightBlock);
        return 2L * block * WeightRow + 2 * MicroFloats + 2L * block * width + 2 * WeightRow + 2 * width + (canWiden ? 2L * WidenedDepths * (leftBlock + rightBlock) : 0);
    }

    internal static float* Of(ref ContrastBatch batch, int slot) => batch.Scratch + slot * batch.ScratchFloats;
    internal static float* Micro(ref ContrastBatch batch, float* scratch) => scratch + 2 * Block(ref batch) * WeightRow;
    internal static float* RowSums(ref ContrastBatch batch, float* scratch) => Micro(ref batch, scratch) + 2 * MicroFloats;
    internal static float* ColumnSums(ref ContrastBatch batch, float* scratch, int width) => RowSums(ref batch, scratch) + 2 * Block(ref batch) * width;
    internal static float* Zeros(ref ContrastBatch batch, float* scratch, int width) => ColumnSums(ref batch, scratch, width) + 2 * WeightRow;
    internal static double* Widened(ref ContrastBatch batch, float* scratch, int width) => (double*)(Zeros(ref batch, scratch, width) + 2 * width);

    private static int Block(ref ContrastBatch batch) => Math.Max(batch.Left.Block, batch.Right.Block);
}
