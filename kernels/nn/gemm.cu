// C = relu?(op(A) op(B) + bias) of float32 numbers, or of those rounded to TF32 (gemm_tf32, on the tensor cores), for matmul and linear, forward and backward: every gradient of a product is a
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

struct GemmSizes
{
    int rows, columns, depth, relu;
};

template <class Product, bool TransposeA, bool TransposeB>
DEV void gemm_block(float* c, const float* a, const float* b, const float* bias, const GemmSizes& size, float (*stage)[Product::Pitch])
{
    const int column_tiles = (size.columns - 1) / gemm_tile::Side + 1;
    const int row0 = blockIdx.x / column_tiles * gemm_tile::Side, column0 = blockIdx.x % column_tiles * gemm_tile::Side;
    const MatrixLines<!TransposeA> lines_a(a, row0, size.rows, size.depth);
    const MatrixLines<TransposeB> lines_b(b, column0, size.columns, size.depth);
    Product product;
    gemm_tile::multiply(product, stage, 0, size.depth, lines_a, lines_b);
    product.for_each([&](int r, int j, float value) {
        const int row = row0 + r, column = column0 + j;
        if (row >= size.rows || column >= size.columns) return;
        if (bias != nullptr) value += bias[column];
        c[static_cast<int64_t>(row) * size.columns + column] = size.relu && value < 0.0f ? 0.0f : value; // NaN stays NaN
    });
}

template <class Product>
DEV void gemm_layouts(float* c, const float* a, const float* b, const float* bias, const GemmSizes& size, bool transpose_a, bool transpose_b,
                      float (*stage)[Product::Pitch])
{
    if (transpose_a)
    {
        if (transpose_b) gemm_block<Product, true, true>(c, a, b, bias, size, stage);
        else gemm_block<Product, true, false>(c, a, b, bias, size, stage);
    }
    else
    {
        if (transpose_b) gemm_block<Product, false, true>(c, a, b, bias, size, stage);
        else gemm_block<Product, false, false>(c, a, b, bias, size, stage);
    }
}

// Grid: the tiles of C, row by row.
extern "C" __global__ void __launch_bounds__(256) gemm(float* __restrict__ c,          // [rows, columns]
                                                       const float* __restrict__ a,    // [rows, depth] or [depth, rows]
                                                       const float* __restrict__ b,    // [depth, columns] or [columns, depth]
                                                       const float* __restrict__ bias, // [columns] or null
                                                       int rows, int columns, int depth, int transpose_a, int transpose_b, int relu)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Float32::Pitch]);
    gemm_layouts<gemm_tile::Float32>(c, a, b, bias, {rows, columns, depth, relu}, transpose_a, transpose_b, stage);
}

// The same.
extern "C" __global__ void __launch_bounds__(256) gemm_tf32(float* __restrict__ c,          // [rows, columns]
                                                            const float* __restrict__ a,    // [rows, depth] or [depth, rows]
                                                            const float* __restrict__ b,    // [depth, columns] or [columns, depth]
                                                            const float* __restrict__ bias, // [columns] or null
                                                            int rows, int columns, int depth, int transpose_a, int transpose_b, int relu)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Tf32::Pitch]);
    gemm_layouts<gemm_tile::Tf32>(c, a, b, bias, {rows, columns, depth, relu}, transpose_a, transpose_b, stage);
}
