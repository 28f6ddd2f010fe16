using System.Runtime.CompilerServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class Conv2dOp
{
    /// <summary>What a tile reads and writes; offsets count floats.</summary>
    private unsafe struct ConvTile
    {
        internal float* Input, Weights, Output;
        internal nint* InputOffsets, OutputOffsets;
        internal nint RowStride;
        internal int Rows;
        internal nint RowLength;
    }

    internal sealed unsafe partial class Cpu
    {
        /// <summary>Pixels of the largest tile.</summary>
        private const int MostPixels = 14;

        /// <summary>
        /// The tile with the fewest idle lanes for so many pixels. 512-bit vectors have 32 registers, 256- and 128-bit
        /// ones 16: accumulators, one vector of weights each and one broadcast value must fit.
        /// </summary>
        private static delegate*<in ConvTile, void> ChooseTile<T>(int vectors, int pixels, out int size) where T : struct, ISimd<T>
        {
            if (vectors == 2 && T.Width < 16)
            {
                size = 6;
                return &Tile6x2<T>;
            }
            size = Idle(14) <= Idle(8) ? 14 : 8;
            return vectors == 1 ? (size == 14 ? &Tile14x1<T> : &Tile8x1<T>) : size == 14 ? &Tile14x2<T> : &Tile8x2<T>;

            int Idle(int size) => (size - pixels % size) % size;
        }

        /// <summary>14 output pixels × 2 vectors of channels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Tile14x2<T>(in ConvTile t) where T : struct, ISimd<T>
        {
            nint p0 = t.InputOffsets[0];
            nint p1 = t.InputOffsets[1];
            nint p2 = t.InputOffsets[2];
            nint p3 = t.InputOffsets[3];
            nint p4 = t.InputOffsets[4];
            nint p5 = t.InputOffsets[5];
            nint p6 = t.InputOffsets[6];
            nint p7 = t.InputOffsets[7];
            nint p8 = t.InputOffsets[8];
            nint p9 = t.InputOffsets[9];
            nint p10 = t.InputOffsets[10];
            nint p11 = t.InputOffsets[11];
            nint p12 = t.InputOffsets[12];
            nint p13 = t.InputOffsets[13];
            T c0_0 = T.Zero, c0_1 = T.Zero, c1_0 = T.Zero, c1_1 = T.Zero, c2_0 = T.Zero, c2_1 = T.Zero, c3_0 = T.Zero, c3_1 = T.Zero, c4_0 = T.Zero, c4_1 = T.Zero, c5_0 = T.Zero, c5_1 = T.Zero, c6_0 = T.Zero, c6_1 = T.Zero, c7_0 = T.Zero, c7_1 = T.Zero, c8_0 = T.Zero, c8_1 = T.Zero, c9_0 = T.Zero, c9_1 = T.Zero, c10_0 = T.Zero, c10_1 = T.Zero, c11_0 = T.Zero, c11_1 = T.Zero, c12_0 = T.Zero, c12_1 = T.Zero, c13_0 = T.Zero, c13_1 = T.Zero;
            float* b = t.Weights;
            for (int r = 0; r < t.Rows; r++)
            {
                float* a = t.Input + r * t.RowStride;
                for (nint k = t.RowLength; k > 0; k--)
                {
                    T b0 = T.Load(b);
                    T b1 = T.Load(b + 1 * T.Width);
                    { T x = T.Create(a[p0]); c0_0 = T.Fma(x, b0, c0_0); c0_1 = T.Fma(x, b1, c0_1); }
                    { T x = T.Create(a[p1]); c1_0 = T.Fma(x, b0, c1_0); c1_1 = T.Fma(x, b1, c1_1); }
                    { T x = T.Create(a[p2]); c2_0 = T.Fma(x, b0, c2_0); c2_1 = T.Fma(x, b1, c2_1); }
                    { T x = T.Create(a[p3]); c3_0 = T.Fma(x, b0, c3_0); c3_1 = T.Fma(x, b1, c3_1); }
                    { T x = T.Create(a[p4]); c4_0 = T.Fma(x, b0, c4_0); c4_1 = T.Fma(x, b1, c4_1); }
                    { T x = T.Create(a[p5]); c5_0 = T.Fma(x, b0, c5_0); c5_1 = T.Fma(x, b1, c5_1); }
                    { T x = T.Create(a[p6]); c6_0 = T.Fma(x, b0, c6_0); c6_1 = T.Fma(x, b1, c6_1); }
                    { T x = T.Create(a[p7]); c7_0 = T.Fma(x, b0, c7_0); c7_1 = T.Fma(x, b1, c7_1); }
                    { T x = T.Create(a[p8]); c8_0 = T.Fma(x, b0, c8_0); c8_1 = T.Fma(x, b1, c8_1); }
                    { T x = T.Create(a[p9]); c9_0 = T.Fma(x, b0, c9_0); c9_1 = T.Fma(x, b1, c9_1); }
                    { T x = T.Create(a[p10]); c10_0 = T.Fma(x, b0, c10_0); c10_1 = T.Fma(x, b1, c10_1); }
                    { T x = T.Create(a[p11]); c11_0 = T.Fma(x, b0, c11_0); c11_1 = T.Fma(x, b1, c11_1); }
                    { T x = T.Create(a[p12]); c12_0 = T.Fma(x, b0, c12_0); c12_1 = T.Fma(x, b1, c12_1); }
                    { T x = T.Create(a[p13]); c13_0 = T.Fma(x, b0, c13_0); c13_1 = T.Fma(x, b1, c13_1); }
                    a++;
                    b += 2 * T.Width;
                }
            }
            { float* o = t.Output + t.OutputOffsets[0]; T.Store(o, c0_0); T.Store(o + 1 * T.Width, c0_1); }
            { float* o = t.Output + t.OutputOffsets[1]; T.Store(o, c1_0); T.Store(o + 1 * T.Width, c1_1); }
            { float* o = t.Output + t.OutputOffsets[2]; T.Store(o, c2_0); T.Store(o + 1 * T.Width, c2_1); }
            { float* o = t.Output + t.OutputOffsets[3]; T.Store(o, c3_0); T.Store(o + 1 * T.Width, c3_1); }
            { float* o = t.Output + t.OutputOffsets[4]; T.Store(o, c4_0); T.Store(o + 1 * T.Width, c4_1); }
            { float* o = t.Output + t.OutputOffsets[5]; T.Store(o, c5_0); T.Store(o + 1 * T.Width, c5_1); }
            { float* o = t.Output + t.OutputOffsets[6]; T.Store(o, c6_0); T.Store(o + 1 * T.Width, c6_1); }
            { float* o = t.Output + t.OutputOffsets[7]; T.Store(o, c7_0); T.Store(o + 1 * T.Width, c7_1); }
            { float* o = t.Output + t.OutputOffsets[8]; T.Store(o, c8_0); T.Store(o + 1 * T.Width, c8_1); }
            { float* o = t.Output + t.OutputOffsets[9]; T.Store(o, c9_0); T.Store(o + 1 * T.Width, c9_1); }
            { float* o = t.Output + t.OutputOffsets[10]; T.Store(o, c10_0); T.Store(o + 1 * T.Width, c10_1); }
            { float* o = t.Output + t.OutputOffsets[11]; T.Store(o, c11_0); T.Store(o + 1 * T.Width, c11_1); }
            { float* o = t.Output + t.OutputOffsets[12]; T.Store(o, c12_0); T.Store(o + 1 * T.Width, c12_1); }
            { float* o = t.Output + t.OutputOffsets[13]; T.Store(o, c13_0); T.Store(o + 1 * T.Width, c13_1); }
        }

        /// <summary>14 output pixels × 1 vectors of channels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Tile14x1<T>(in ConvTile t) where T : struct, ISimd<T>
        {
            nint p0 = t.InputOffsets[0];
            nint p1 = t.InputOffsets[1];
            nint p2 = t.InputOffsets[2];
            nint p3 = t.InputOffsets[3];
            nint p4 = t.InputOffsets[4];
            nint p5 = t.InputOffsets[5];
            nint p6 = t.InputOffsets[6];
            nint p7 = t.InputOffsets[7];
            nint p8 = t.InputOffsets[8];
            nint p9 = t.InputOffsets[9];
            nint p10 = t.InputOffsets[10];
            nint p11 = t.InputOffsets[11];
            nint p12 = t.InputOffsets[12];
            nint p13 = t.InputOffsets[13];
            T c0_0 = T.Zero, c1_0 = T.Zero, c2_0 = T.Zero, c3_0 = T.Zero, c4_0 = T.Zero, c5_0 = T.Zero, c6_0 = T.Zero, c7_0 = T.Zero, c8_0 = T.Zero, c9_0 = T.Zero, c10_0 = T.Zero, c11_0 = T.Zero, c12_0 = T.Zero, c13_0 = T.Zero;
            float* b = t.Weights;
            for (int r = 0; r < t.Rows; r++)
            {
                float* a = t.Input + r * t.RowStride;
                for (nint k = t.RowLength; k > 0; k--)
                {
                    T b0 = T.Load(b);
                    { T x = T.Create(a[p0]); c0_0 = T.Fma(x, b0, c0_0); }
                    { T x = T.Create(a[p1]); c1_0 = T.Fma(x, b0, c1_0); }
                    { T x = T.Create(a[p2]); c2_0 = T.Fma(x, b0, c2_0); }
                    { T x = T.Create(a[p3]); c3_0 = T.Fma(x, b0, c3_0); }
                    { T x = T.Create(a[p4]); c4_0 = T.Fma(x, b0, c4_0); }
                    { T x = T.Create(a[p5]); c5_0 = T.Fma(x, b0, c5_0); }
                    { T x = T.Create(a[p6]); c6_0 = T.Fma(x, b0, c6_0); }
                    { T x = T.Create(a[p7]); c7_0 = T.Fma(x, b0, c7_0); }
                    { T x = T.Create(a[p8]); c8_0 = T.Fma(x, b0, c8_0); }
                    { T x = T.Create(a[p9]); c9_0 = T.Fma(x, b0, c9_0); }
                    { T x = T.Create(a[p10]); c10_0 = T.Fma(x, b0, c10_0); }
                    { T x = T.Create(a[p11]); c11_0 = T.Fma(x, b0, c11_0); }
                    { T x = T.Create(a[p12]); c12_0 = T.Fma(x, b0, c12_0); }
                    { T x = T.Create(a[p13]); c13_0 = T.Fma(x, b0, c13_0); }
                    a++;
                    b += 1 * T.Width;
                }
            }
            { float* o = t.Output + t.OutputOffsets[0]; T.Store(o, c0_0); }
            { float* o = t.Output + t.OutputOffsets[1]; T.Store(o, c1_0); }
            { float* o = t.Output + t.OutputOffsets[2]; T.Store(o, c2_0); }
            { float* o = t.Output + t.OutputOffsets[3]; T.Store(o, c3_0); }
            { float* o = t.Output + t.OutputOffsets[4]; T.Store(o, c4_0); }
            { float* o = t.Output + t.OutputOffsets[5]; T.Store(o, c5_0); }
            { float* o = t.Output + t.OutputOffsets[6]; T.Store(o, c6_0); }
            { float* o = t.Output + t.OutputOffsets[7]; T.Store(o, c7_0); }
            { float* o = t.Output + t.OutputOffsets[8]; T.Store(o, c8_0); }
            { float* o = t.Output + t.OutputOffsets[9]; T.Store(o, c9_0); }
            { float* o = t.Output + t.OutputOffsets[10]; T.Store(o, c10_0); }
            { float* o = t.Output + t.OutputOffsets[11]; T.Store(o, c11_0); }
            { float* o = t.Output + t.OutputOffsets[12]; T.Store(o, c12_0); }
            { float* o = t.Output + t.OutputOffsets[13]; T.Store(o, c13_0); }
        }

        /// <summary>8 output pixels × 2 vectors of channels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Tile8x2<T>(in ConvTile t) where T : struct, ISimd<T>
        {
            nint p0 = t.InputOffsets[0];
            nint p1 = t.InputOffsets[1];
            nint p2 = t.InputOffsets[2];
            nint p3 = t.InputOffsets[3];
            nint p4 = t.InputOffsets[4];
            nint p5 = t.InputOffsets[5];
            nint p6 = t.InputOffsets[6];
            nint p7 = t.InputOffsets[7];
            T c0_0 = T.Zero, c0_1 = T.Zero, c1_0 = T.Zero, c1_1 = T.Zero, c2_0 = T.Zero, c2_1 = T.Zero, c3_0 = T.Zero, c3_1 = T.Zero, c4_0 = T.Zero, c4_1 = T.Zero, c5_0 = T.Zero, c5_1 = T.Zero, c6_0 = T.Zero, c6_1 = T.Zero, c7_0 = T.Zero, c7_1 = T.Zero;
            float* b = t.Weights;
            for (int r = 0; r < t.Rows; r++)
            {
                float* a = t.Input + r * t.RowStride;
                for (nint k = t.RowLength; k > 0; k--)
                {
                    T b0 = T.Load(b);
                    T b1 = T.Load(b + 1 * T.Width);
                    { T x = T.Create(a[p0]); c0_0 = T.Fma(x, b0, c0_0); c0_1 = T.Fma(x, b1, c0_1); }
                    { T x = T.Create(a[p1]); c1_0 = T.Fma(x, b0, c1_0); c1_1 = T.Fma(x, b1, c1_1); }
                    { T x = T.Create(a[p2]); c2_0 = T.Fma(x, b0, c2_0); c2_1 = T.Fma(x, b1, c2_1); }
                    { T x = T.Create(a[p3]); c3_0 = T.Fma(x, b0, c3_0); c3_1 = T.Fma(x, b1, c3_1); }
                    { T x = T.Create(a[p4]); c4_0 = T.Fma(x, b0, c4_0); c4_1 = T.Fma(x, b1, c4_1); }
                    { T x = T.Create(a[p5]); c5_0 = T.Fma(x, b0, c5_0); c5_1 = T.Fma(x, b1, c5_1); }
                    { T x = T.Create(a[p6]); c6_0 = T.Fma(x, b0, c6_0); c6_1 = T.Fma(x, b1, c6_1); }
                    { T x = T.Create(a[p7]); c7_0 = T.Fma(x, b0, c7_0); c7_1 = T.Fma(x, b1, c7_1); }
                    a++;
                    b += 2 * T.Width;
                }
            }
            { float* o = t.Output + t.OutputOffsets[0]; T.Store(o, c0_0); T.Store(o + 1 * T.Width, c0_1); }
            { float* o = t.Output + t.OutputOffsets[1]; T.Store(o, c1_0); T.Store(o + 1 * T.Width, c1_1); }
            { float* o = t.Output + t.OutputOffsets[2]; T.Store(o, c2_0); T.Store(o + 1 * T.Width, c2_1); }
            { float* o = t.Output + t.OutputOffsets[3]; T.Store(o, c3_0); T.Store(o + 1 * T.Width, c3_1); }
            { float* o = t.Output + t.OutputOffsets[4]; T.Store(o, c4_0); T.Store(o + 1 * T.Width, c4_1); }
            { float* o = t.Output + t.OutputOffsets[5]; T.Store(o, c5_0); T.Store(o + 1 * T.Width, c5_1); }
            { float* o = t.Output + t.OutputOffsets[6]; T.Store(o, c6_0); T.Store(o + 1 * T.Width, c6_1); }
            { float* o = t.Output + t.OutputOffsets[7]; T.Store(o, c7_0); T.Store(o + 1 * T.Width, c7_1); }
        }

        /// <summary>8 output pixels × 1 vectors of channels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Tile8x1<T>(in ConvTile t) where T : struct, ISimd<T>
        {
            nint p0 = t.InputOffsets[0];
            nint p1 = t.InputOffsets[1];
            nint p2 = t.InputOffsets[2];
            nint p3 = t.InputOffsets[3];
            nint p4 = t.InputOffsets[4];
            nint p5 = t.InputOffsets[5];
            nint p6 = t.InputOffsets[6];
            nint p7 = t.InputOffsets[7];
            T c0_0 = T.Zero, c1_0 = T.Zero, c2_0 = T.Zero, c3_0 = T.Zero, c4_0 = T.Zero, c5_0 = T.Zero, c6_0 = T.Zero, c7_0 = T.Zero;
            float* b = t.Weights;
            for (int r = 0; r < t.Rows; r++)
            {
                float* a = t.Input + r * t.RowStride;
                for (nint k = t.RowLength; k > 0; k--)
                {
                    T b0 = T.Load(b);
                    { T x = T.Create(a[p0]); c0_0 = T.Fma(x, b0, c0_0); }
                    { T x = T.Create(a[p1]); c1_0 = T.Fma(x, b0, c1_0); }
                    { T x = T.Create(a[p2]); c2_0 = T.Fma(x, b0, c2_0); }
                    { T x = T.Create(a[p3]); c3_0 = T.Fma(x, b0, c3_0); }
                    { T x = T.Create(a[p4]); c4_0 = T.Fma(x, b0, c4_0); }
                    { T x = T.Create(a[p5]); c5_0 = T.Fma(x, b0, c5_0); }
                    { T x = T.Create(a[p6]); c6_0 = T.Fma(x, b0, c6_0); }
                    { T x = T.Create(a[p7]); c7_0 = T.Fma(x, b0, c7_0); }
                    a++;
                    b += 1 * T.Width;
                }
            }
            { float* o = t.Output + t.OutputOffsets[0]; T.Store(o, c0_0); }
            { float* o = t.Output + t.OutputOffsets[1]; T.Store(o, c1_0); }
            { float* o = t.Output + t.OutputOffsets[2]; T.Store(o, c2_0); }
            { float* o = t.Output + t.OutputOffsets[3]; T.Store(o, c3_0); }
            { float* o = t.Output + t.OutputOffsets[4]; T.Store(o, c4_0); }
            { float* o = t.Output + t.OutputOffsets[5]; T.Store(o, c5_0); }
            { float* o = t.Output + t.OutputOffsets[6]; T.Store(o, c6_0); }
            { float* o = t.Output + t.OutputOffsets[7]; T.Store(o, c7_0); }
        }

        /// <summary>6 output pixels × 2 vectors of channels.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static void Tile6x2<T>(in ConvTile t) where T : struct, ISimd<T>
        {
            nint p0 = t.InputOffsets[0];
            nint p1 = t.InputOffsets[1];
            nint p2 = t.InputOffsets[2];
            nint p3 = t.InputOffsets[3];
            nint p4 = t.InputOffsets[4];
            nint p5 = t.InputOffsets[5];
            T c0_0 = T.Zero, c0_1 = T.Zero, c1_0 = T.Zero, c1_1 = T.Zero, c2_0 = T.Zero, c2_1 = T.Zero, c3_0 = T.Zero, c3_1 = T.Zero, c4_0 = T.Zero, c4_1 = T.Zero, c5_0 = T.Zero, c5_1 = T.Zero;
            float* b = t.Weights;
            for (int r = 0; r < t.Rows; r++)
            {
                float* a = t.Input + r * t.RowStride;
                for (nint k = t.RowLength; k > 0; k--)
                {
                    T b0 = T.Load(b);
                    T b1 = T.Load(b + 1 * T.Width);
                    { T x = T.Create(a[p0]); c0_0 = T.Fma(x, b0, c0_0); c0_1 = T.Fma(x, b1, c0_1); }
                    { T x = T.Create(a[p1]); c1_0 = T.Fma(x, b0, c1_0); c1_1 = T.Fma(x, b1, c1_1); }
                    { T x = T.Create(a[p2]); c2_0 = T.Fma(x, b0, c2_0); c2_1 = T.Fma(x, b1, c2_1); }
                    { T x = T.Create(a[p3]); c3_0 = T.Fma(x, b0, c3_0); c3_1 = T.Fma(x, b1, c3_1); }
                    { T x = T.Create(a[p4]); c4_0 = T.Fma(x, b0, c4_0); c4_1 = T.Fma(x, b1, c4_1); }
                    { T x = T.Create(a[p5]); c5_0 = T.Fma(x, b0, c5_0); c5_1 = T.Fma(x, b1, c5_1); }
                    a++;
                    b += 2 * T.Width;
                }
            }
            { float* o = t.Output + t.OutputOffsets[0]; T.Store(o, c0_0); T.Store(o + 1 * T.Width, c0_1); }
            { float* o = t.Output + t.OutputOffsets[1]; T.Store(o, c1_0); T.Store(o + 1 * T.Width, c1_1); }
            { float* o = t.Output + t.OutputOffsets[2]; T.Store(o, c2_0); T.Store(o + 1 * T.Width, c2_1); }
            { float* o = t.Output + t.OutputOffsets[3]; T.Store(o, c3_0); T.Store(o + 1 * T.Width, c3_1); }
            { float* o = t.Output + t.OutputOffsets[4]; T.Store(o, c4_0); T.Store(o + 1 * T.Width, c4_1); }
            { float* o = t.Output + t.OutputOffsets[5]; T.Store(o, c5_0); T.Store(o + 1 * T.Width, c5_1); }
        }
    }
}
