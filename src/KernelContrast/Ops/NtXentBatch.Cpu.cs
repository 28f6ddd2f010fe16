using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// How the normalised rows are stored, partners side by side (2i and 2i + 1) whatever the caller's layout, so that
/// every pair lies in one tile on the diagonal. Twice: by panels of <see cref="Panel"/> rows with the column outermost,
/// for the similarities, and by panels of as many columns with the row outermost, for the gradients. Padding is zero.
/// </summary>
internal readonly struct PackedRows(int rows, int dim, int panel)
{
    internal int Count => rows;
    internal int Dim => dim;
    internal int Panel => panel;
    internal int PaddedRows { get; } = (rows + panel - 1) / panel * panel;
    internal int PaddedDim { get; } = (dim + panel - 1) / panel * panel;

    internal long Floats => (long)PaddedRows * (dim + PaddedDim);

    /// <summary>Where a row's panel starts among the panels of rows: [panel][column][row within].</summary>
    internal long RowPanel(int row) => (long)(row / panel) * panel * dim;

    /// <summary>Where a row starts in a panel of columns: [panel][row][column within].</summary>
    internal long ColumnPanel(int row, int columnPanel) =>
        (long)PaddedRows * dim + ((long)columnPanel * PaddedRows + row) * panel;
}

/// <summary>
/// What the CPU kernels of NT-Xent share: where everything is, and how the work is divided. Indices of rows are those
/// of <see cref="PackedRows"/> unless they are called original.
/// </summary>
internal unsafe struct NtXentBatch
{
    /// <summary>Rows to a side of a tile: the weights of a tile (64 KiB) stay in the L2 cache.</summary>
    private const int MaxBlock = 128;

    /// <summary>Rows normalised or finished by one item of a parallel job.</summary>
    internal const int RowsPerItem = 64;

    internal NtXentBatch(int rows, int dim, float temperature, PairLayout layout) : this() =>
        (_rows, _dim, Temperature, _layout) = (rows, dim, temperature, layout);

    private readonly int _rows, _dim;
    private readonly PairLayout _layout;
    internal readonly float Temperature;

    // by original row
    internal float* Embeddings, InverseNorm, Shift, InverseSum, NegativeShare, Gradient;
    internal float GradLoss;

    internal float* Normalized;
    /// <summary>[slots][rows] of the forward pass.</summary>
    internal double* Sums;
    internal float* Maxima;
    /// <summary>[rows]: the positive's exponential, or its similarity in the online path.</summary>
    internal double* Positive;
    internal double* Losses;
    /// <summary>[slots][rows][padded dim] of the backward pass.</summary>
    internal float* Accumulators;
    internal float* PackedInverseSum, PackedShift, PackedShare;
    internal float* Scratch;
    internal long ScratchFloats;

    internal PackedRows Rows;
    internal int Slots, Block, Blocks;
    private double _work, _diagonalWork, _totalWork;

    internal readonly bool IsFixedShift => Temperature >= ContrastOp.FixedShiftTemperature;

    /// <summary>Factor from a similarity to a base-2 exponent.</summary>
    internal readonly float Log2Scale => (float)(Math.Log2(Math.E) / Temperature);

    internal readonly int RowItems => (Rows.PaddedRows + RowsPerItem - 1) / RowsPerItem;

    /// <summary>Chooses the tiles: large ones, but enough for all threads to end together.</summary>
    internal void Divide(int threads, int panel)
    {
        Rows = new(_rows, _dim, panel);
        Slots = threads;
        int wanted = (Rows.PaddedRows / (4 * threads) + panel - 1) / panel * panel;
        Block = Math.Clamp(wanted, panel, MaxBlock);
        Blocks = (Rows.PaddedRows + Block - 1) / Block;
    }

    /// <summary>The caller's index of a row.</summary>
    internal readonly int OriginalRow(int row) =>
        _layout == PairLayout.Interleaved ? row : (row >> 1) + (row & 1) * (_rows / 2);

    internal readonly int BlockRows(int block) => Math.Min(Block, Rows.PaddedRows - block * Block);

    /// <summary>
    /// Prepares <see cref="SlotOf"/>: a tile has one product of similarities, of which a tile on the diagonal computes a
    /// little more than half, and off the diagonal <paramref name="products"/> more of the same size, on it half as many.
    /// </summary>
    internal void ShareTiles(int products)
    {
        int panels = Block / Rows.Panel;
        _work = 1 + products;
        _diagonalWork = (panels + 1) / (2.0 * panels) + products / 2;
        _totalWork = 0;
        for (int i = 0; i < Blocks; i++)
            for (int j = i; j < Blocks; j++) _totalWork += Work(i, j);
    }

    internal readonly double Work(int i, int j) => (i == j ? _diagonalWork : _work) * BlockRows(i) * BlockRows(j);

    /// <summary>Which slot computes a tile, given the work of all tiles before it.</summary>
    internal readonly int SlotOf(double before, double work) => Math.Min(Slots - 1, (int)((before + work / 2) * Slots / _totalWork));
}
