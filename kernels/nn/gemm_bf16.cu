// C = relu?(op(A) op(B) + bias) on the tensor cores: bfloat16 factors, float32 sums, C in bfloat16 or float32. For matmul
// and linear, forward and backward: every gradient of a product is a product again.
//
//   C [rows, columns]; op(A) [rows, depth], stored so or, transposed, as [depth, rows];
//   op(B) [depth, columns], stored so or, transposed, as [columns, depth]; bias [columns] in float32 or null.
//
// All row-major. A block computes one tile of C, whole sums in one thread each, so that every run gives the same bits.
// Overwrites C. 2 rows columns depth FLOPs. gemm_bf16_large wants the innermost sizes of A and B to be multiples of 8, which
// makes every copy 16 bytes; gemm_bf16 takes any. Launched by Ops/Gemm.Cuda.Bf16.cs, which chooses.
#include "common/prelude.cuh"

struct GemmSizes
{
    int rows, columns, depth, relu, c_is_bf16;
};

template <int M, int N, bool TransposeA, bool TransposeB, bool Whole>
DEV void gemm_block(void* c, const bf16* a, const bf16* b, const float* bias, const GemmSizes& size, bf16* stages)
{
    using Tile = bf16_tile::Tile<M, N>;
    const int column_tiles = (size.columns - 1) / Tile::Columns + 1;
    const int row0 = blockIdx.x / column_tiles * Tile::Rows, column0 = blockIdx.x % column_tiles * Tile::Columns;
    const bf16_tile::MatrixLines<Tile::Rows, !TransposeA, Whole> lines_a(a, row0, size.rows, size.depth);
    const bf16_tile::MatrixLines<Tile::Columns, TransposeB, Whole> lines_b(b, column0, size.columns, size.depth);
    float sums[M][N][4];
    Tile::multiply(sums, stages, 0, size.depth, lines_a, lines_b, a);

    bf16_tile::for_pairs(sums, [&](int r, int j, float first, float second) {
        const int row = row0 + r, column = column0 + j;
        if (row >= size.rows || column >= size.columns) return;
        const bool both = column + 1 < size.columns;
        if (bias != nullptr)
        {
            first += bias[column];
            if (both) second += bias[column + 1];
        }
        if (size.relu)
        {
            first = max_op(first, 0.0f);
            second = max_op(second, 0.0f);
        }
        bf16_tile::store_pair(c, static_cast<int64_t>(row) * size.columns + column, first, second, both, size.c_is_bf16);
    });
}

template <int M, int N, bool Whole>
DEV void gemm_layouts(void* c, const bf16* a, const bf16* b, const float* bias, const GemmSizes& size, bool transpose_a, bool transpose_b, bf16* stages)
{
    if (transpose_a)
    {
        if (transpose_b) gemm_block<M, N, true, true, Whole>(c, a, b, bias, size, stages);
        else gemm_block<M, N, true, false, Whole>(c, a, b, bias, size, stages);
    }
    else
    {
        if (transpose_b) gemm_block<M, N, false, true, Whole>(c, a, b, bias, size, stages);
        else gemm_block<M, N, false, false, Whole>(c, a, b, bias, size, stages);
    }
}

// Tiles of 64 x 64. Grid: the tiles of C, row by row.
extern "C" __global__ void __launch_bounds__(128, 2) gemm_bf16(void* __restrict__ c,           // [rows, columns] float or bf16
                                                               const bf16* __restrict__ a,     // [rows, depth] or [depth, rows]
                                                               const bf16* __restrict__ b,     // [depth, columns] or [columns, depth]
                                                               const float* __restrict__ bias, // [columns] or null
                                                               int rows, int columns, int depth, int transpose_a, int transpose_b,
                                                               int relu, int c_is_bf16, int whole)
{
    SHARED(bf16, stages, [bf16_tile::Tile<2, 4>::SharedElements]);
    const GemmSizes size = {rows, columns, depth, relu, c_is_bf16};
    if (whole) gemm_layouts<2, 4, true>(c, a, b, bias, size, transpose_a, transpose_b, stages);
    else gemm_layouts<2, 4, false>(c, a, b, bias, size, transpose_a, transpose_b, stages);
}

// Tiles of 128 x 128, whole chunks only. Grid: the tiles of C, row by row.
extern "C" __global__ void __launch_bounds__(128) gemm_bf16_large(void* __restrict__ c,           // [rows, columns] float or bf16
                                                                  const bf16* __restrict__ a,     // [rows, depth] or [depth, rows]
                                                                  const bf16* __restrict__ b,     // [depth, columns] or [columns, depth]
                                                                  const float* __restrict__ bias, // [columns] or null
                                                                  int rows, int columns, int depth, int transpose_a, int transpose_b,
                                                                  int relu, int c_is_bf16)
{
    SHARED(bf16, stages, [bf16_tile::Tile<4, 8>::SharedElements]);
    const GemmSizes size = {rows, columns, depth, relu, c_is_bf16};
    gemm_layouts<4, 8, true>(c, a, b, bias, size, transpose_a, transpose_b, stages);
}
