// sums[j] = sum_i matrix[i, j], of float32 or bfloat16: the gradient of a bias. Runs of a thread's rows are summed in float32, the runs in double
// precision, so that the error stays that of a short sum. The rows are cut into stripes by the shape alone and folded in
// order, so that every run gives the same bits. Launched by Ops/ColumnSums.Cuda.cs, in the order of this file. Overwrites.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

constexpr int Lines = 8; // of a block: each of its 32 columns has this many threads

template <class T> DEV void stripe_sums(float* partial, const T* matrix, int64_t rows, int columns, int64_t rows_per_stripe, double (*scratch)[32])
{
    const int groups = (columns - 1) / 32 + 1, stripe = blockIdx.x / groups;
    const int column = blockIdx.x % groups * 32 + threadIdx.x % 32, in_column = min(column, columns - 1);
    const int64_t first = stripe * rows_per_stripe, end = first + rows_per_stripe;
    double sums[1];
    sum_strided(sums, [&](int64_t row, float (&values)[1]) { values[0] = to_float(matrix[row * columns + in_column]); },
                first + threadIdx.x / 32, end < rows ? end : rows, Lines);
    const double sum = column_sum(sums[0], scratch);
    if (threadIdx.x < 32 && column < columns) partial[static_cast<int64_t>(stripe) * columns + column] = static_cast<float>(sum);
}

// Every stripe's sums. Grid: stripe * (groups of 32 columns) + group.
extern "C" __global__ void __launch_bounds__(256) column_sums_stripes(float* __restrict__ partial,      // [stripes, columns]
                                                                      const float* __restrict__ matrix, // [rows, columns]
                                                                      int64_t rows, int columns, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_sums(partial, matrix, rows, columns, rows_per_stripe, scratch);
}

extern "C" __global__ void __launch_bounds__(256) column_sums_stripes_bf16(float* __restrict__ partial,     // [stripes, columns]
                                                                           const bf16* __restrict__ matrix, // [rows, columns]
                                                                           int64_t rows, int columns, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_sums(partial, matrix, rows, columns, rows_per_stripe, scratch);
}

// Folds the stripes. Grid: groups of 32 columns.
extern "C" __global__ void __launch_bounds__(256) column_sums_fold(float* __restrict__ sums,          // [columns]
                                                                   const float* __restrict__ partial, // [stripes, columns]
                                                                   int stripes, int columns)
{
    SHARED(double, scratch, [Lines][32]);
    const int column = blockIdx.x * 32 + threadIdx.x % 32;
    const double sum = column_sum(fold_column(partial, min(column, columns - 1), stripes, columns), scratch);
    if (threadIdx.x < 32 && column < columns) sums[column] = static_cast<float>(sum);
}
