using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// Similarities in double, for the online path: 1/τ magnifies the rounding of a similarity, which of unit rows in float32
/// at τ = 0.001 would cost a row up to 2e-4 of its loss, and of longer rows as much more as they are longer. Products of two
/// floats are exact in double, and rows are divided by their norms there, so neither the sum nor z = h/‖h‖ rounds.
/// </summary>
internal static unsafe class ContrastDoubles<D> where D : struct, IDoubles<D>
{
    private const int WeightRow = ContrastScratch.WeightRow;

    /// <summary>Rows of the product of registers, beside two vectors of columns: a panel is a multiple of it.</summary>
    private const int Rows = 4;

    /// <summary>s[i, j] of a tile.</summary>
    internal static void Similarities(ref ContrastBatch batch, double* s, double* widened, int blockI, int blockJ)
    {
        const int Depths = ContrastScratch.WidenedDepths;
        int panel = batch.Left.Rows.Panel, dim = batch.Left.Rows.Dim;
        int row0 = blockI * batch.Left.Block, rows = batch.Left.BlockRows(blockI), column0 = blockJ * batch.Right.Block, columns = batch.Right.BlockRows(blockJ);
        double* left = widened, right = left + (long)batch.Left.Block * Depths;
        bool scaled = batch.IsScaledInDouble;
        for (int k = 0; k < dim; k += Depths)
        {
            int depths = Math.Min(Depths, dim - k);
            Widen(batch.Left, scaled, row0, rows, k, depths, left);
            Widen(batch.Right, scaled, column0, columns, k, depths, right);
            for (int column = 0; column < columns; column += 2 * D.Width)
            {
                double* b = right + (long)(column / panel) * panel * depths + column % panel;
                for (int row = 0; row < rows; row += Rows)
                    Multiply(left + (long)(row / panel) * panel * depths + row % panel, b, panel, depths, s + row * WeightRow + column, begin: k == 0);
            }
        }
    }

    /// <summary>Some columns of a side's rows as doubles, in panels as they lie there; divided by the norms if they are not yet.</summary>
    private static void Widen(in ContrastSide side, bool scaled, int first, int count, int from, int depths, double* to)
    {
        int panel = side.Rows.Panel;
        for (int row = first; row < first + count; row += panel)
        {
            float* at = side.Z + side.Rows.RowPanel(row) + (long)from * panel;
            for (int k = 0; k < depths; k++, at += panel, to += panel)
                for (int r = 0; r < panel; r += 2 * D.Width)
                {
                    (D low, D high) = D.Widen(at + r);
                    if (scaled)
                    {
                        low = D.Mul(low, D.Load(side.InverseNorm + row + r));
                        high = D.Mul(high, D.Load(side.InverseNorm + row + r + D.Width));
                    }
                    D.Store(to + r, low);
                    D.Store(to + r + D.Width, high);
                }
        }
    }

    /// <summary>out (or out +=) of four rows and two vectors of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(double* a, double* b, int step, int depths, double* output, bool begin)
    {
        D x0 = D.Zero, y0 = D.Zero, x1 = D.Zero, y1 = D.Zero, x2 = D.Zero, y2 = D.Zero, x3 = D.Zero, y3 = D.Zero;
        double* o1 = output + WeightRow, o2 = o1 + WeightRow, o3 = o2 + WeightRow;
        if (!begin)
        {
            (x0, y0, x1, y1) = (D.Load(output), D.Load(output + D.Width), D.Load(o1), D.Load(o1 + D.Width));
            (x2, y2, x3, y3) = (D.Load(o2), D.Load(o2 + D.Width), D.Load(o3), D.Load(o3 + D.Width));
        }
        for (int k = 0; k < depths; k++, a += step, b += step)
        {
            D x = D.Load(b), y = D.Load(b + D.Width), factor;
            { factor = D.Create(a[0]); x0 = D.Fma(factor, x, x0); y0 = D.Fma(factor, y, y0); }
            { factor = D.Create(a[1]); x1 = D.Fma(factor, x, x1); y1 = D.Fma(factor, y, y1); }
            { factor = D.Create(a[2]); x2 = D.Fma(factor, x, x2); y2 = D.Fma(factor, y, y2); }
            { factor = D.Create(a[3]); x3 = D.Fma(factor, x, x3); y3 = D.Fma(factor, y, y3); }
        }
        D.Store(output, x0); D.Store(output + D.Width, y0);
        D.Store(o1, x1); D.Store(o1 + D.Width, y1);
        D.Store(o2, x2); D.Store(o2 + D.Width, y2);
        D.Store(o3, x3); D.Store(o3 + D.Width, y3);
    }

    /// <summary>The greatest of so many similarities.</summary>
    internal static double Maximum(double* s, int count)
    {
        D most = D.Load(s);
        for (int c = D.Width; c < count; c += D.Width) most = D.Max(most, D.Load(s + c));
        double* lanes = stackalloc double[D.Width];
        D.Store(lanes, most);
        double maximum = lanes[0];
        for (int x = 1; x < D.Width; x++) maximum = Math.Max(maximum, lanes[x]);
        return maximum;
    }

    /// <summary>to[c] = the greatest s of column c.</summary>
    internal static void ColumnMaxima(double* s, int rows, int columns, double* to)
    {
        for (int c = 0; c < columns; c += D.Width)
        {
            D most = D.Load(s + c);
            for (int r = 1; r < rows; r++) most = D.Max(most, D.Load(s + r * WeightRow + c));
            D.Store(to + c, most);
        }
    }

    /// <summary>y = s·scale + offset, a logit in base 2, which may round once it is formed.</summary>
    internal static void Logits(float* y, double* s, int count, double scale, double offset)
    {
        D factor = D.Create(scale), addend = D.Create(offset);
        for (int c = 0; c < count; c += 2 * D.Width)
            D.StoreNarrow(y + c, D.Fma(D.Load(s + c), factor, addend), D.Fma(D.Load(s + c + D.Width), factor, addend));
    }

    /// <summary>y = (s − shift)·scale.</summary>
    internal static void Exponents(float* y, double* s, int count, double shift, double scale)
    {
        D factor = D.Create(scale), from = D.Create(shift);
        for (int c = 0; c < count; c += 2 * D.Width)
            D.StoreNarrow(y + c, D.Mul(D.Sub(D.Load(s + c), from), factor), D.Mul(D.Sub(D.Load(s + c + D.Width), from), factor));
    }

    /// <summary>y = (s − shift of its column)·scale.</summary>
    internal static void Exponents(float* y, double* s, int count, double* shifts, double scale)
    {
        D factor = D.Create(scale);
        for (int c = 0; c < count; c += 2 * D.Width)
            D.StoreNarrow(y + c, D.Mul(D.Sub(D.Load(s + c), D.Load(shifts + c)), factor), D.Mul(D.Sub(D.Load(s + c + D.Width), D.Load(shifts + c + D.Width)), factor));
    }
}
