// C = op(A) op(B) + bias in float32, for matmul and linear, forward and backward: every gradient of a product is a
// product again.
//
//   C [rows, columns]; op(A) [rows, depth], stored so or, transposed, as [depth, rows];
//   op(B) [depth, columns], stored so or, transposed, as [columns, depth]; bias [columns] or null, added to every row.
//
// All row-major. A block computes one 64 x 64 tile of C, whole sums in one thread each, so that every run gives the same
// bits. Overwrites C. 2 rows columns depth FLOPs. Launched by Ops/Gemm.Cuda.cs.
#include "common/prelude.cuh"

// 64 lines of a matrix along the depth: line i, depth k at [i, k], or at [k, i].
template <bool DepthInnermost_> struct MatrixLines
{
    static constexpr bool DepthInnermost = DepthInnermost_;
    const float* from[4];
    int64_t stride; // of the depth

    __device__ MatrixLines(const float* matrix, int first, int lines, int depth) : stride(DepthInnermost ? 1 : lines)
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            const int64_t line = min(first + gemm_tile::line<DepthInnermost>(i), lines - 1);
            from[i] = matrix + (DepthInnermost ? line * depth : line);
        }
    }
    __device__ int64_t at(int k) const { return k * stride; }
    __device__ float load(int i, int64_t at) const { return from[i][at]; }
};

template <bool TransposeA, bool TransposeB>
DEV void gemm_block(float* c, const float* a, const float* b, const float* bias, int rows, int columns, int depth,
                    float (*stage)[gemm_tile::Pitch])
{
    const int column_tiles = (columns - 1) / gemm_tile::Side + 1;
    const int row0 = blockIdx.x / column_tiles * gemm_tile::Side, column0 = blockIdx.x % column_tiles * gemm_tile::Side;
    const MatrixLines<!TransposeA> lines_a(a, row0, rows, depth);
    const MatrixLines<TransposeB> lines_b(b, column0, columns, depth);
    float product[4][4];
    gemm_tile::multiply(product, stage, 0, depth, lines_a, lines_b);

    const int row = row0 + gemm_tile::row(), column = column0 + gemm_tile::column();
#pragma unroll
    for (int r = 0; r < 4; r++)
    {
        if (row + r >= rows) continue;
        float* to = c + static_cast<int64_t>(row + r) * columns + column;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (column + j < columns) to[j] = product[r][j] + (bias != nullptr ? bias[column + j] : 0.0f);
    }
}

// Grid: the tiles of C, row by row.
extern "C" __global__ void __launch_bounds__(256) gemm(float* __restrict__ c,          // [rows, columns]
                                                       const float* __restrict__ a,    // [rows, depth] or [depth, rows]
                                                       const float* __restrict__ b,    // [depth, columns] or [columns, depth]
                                                       const float* __restrict__ bias, // [columns] or null
                                                       int rows, int columns, int depth, int transpose_a, int transpose_b)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Pitch]);
    if (transpose_a)
    {
        if (transpose_b) gemm_block<true, true>(c, a, b, bias, rows, columns, depth, stage);
        else gemm_block<true, false>(c, a, b, bias, rows, columns, depth, stage);
    }
    else
    {
        if (transpose_b) gemm_block<false, true>(c, a, b, bias, rows, columns, depth, stage);
        else gemm_block<false, false>(c, a, b, bias, rows, columns, depth, stage);
    }
}
