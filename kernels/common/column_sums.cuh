// Sums over the rows of a matrix by blocks that are 32 columns wide: thread t has column t % 32 and line t / 32 of
// blockDim.x / 32. What bias gradients and batch normalisation share.
#pragma once

// sums[k] = values[k] of first, first + stride, ... below end, added up; terms(i, values) gives them. 64 terms at a time
// in float32, those in double precision.
template <int N, class Terms> DEV void sum_strided(double (&sums)[N], const Terms& terms, int64_t first, int64_t end, int64_t stride)
{
#pragma unroll
    for (int k = 0; k < N; k++) sums[k] = 0;
    int64_t i = first;
    for (; i + 63 * stride < end; i += 64 * stride)
    {
        float run[N] = {};
#pragma unroll 8
        for (int n = 0; n < 64; n++)
        {
            float values[N];
            terms(i + n * stride, values);
#pragma unroll
            for (int k = 0; k < N; k++) run[k] += values[k];
        }
#pragma unroll
        for (int k = 0; k < N; k++) sums[k] += run[k];
    }
    float rest[N] = {};
    for (; i < end; i += stride)
    {
        float values[N];
        terms(i, values);
#pragma unroll
        for (int k = 0; k < N; k++) rest[k] += values[k];
    }
#pragma unroll
    for (int k = 0; k < N; k++) sums[k] += rest[k];
}

// The block's sum of each column, in the order of the lines; every thread of the column gets it. All threads take part.
DEV double column_sum(double value, double (*scratch)[32])
{
    const int lines = blockDim.x / 32, column = threadIdx.x % 32;
    __syncthreads(); // scratch may still be read from the last call
    scratch[threadIdx.x / 32][column] = value;
    __syncthreads(); // every line's number is there
    double sum = 0;
    for (int line = 0; line < lines; line++) sum += scratch[line][column];
    return sum;
}

// This thread's share of the sum of partial[stripe, column] over the stripes: its line's, first to last.
DEV double fold_column(const float* partial, int column, int stripes, int64_t pitch)
{
    double sum = 0;
    for (int stripe = threadIdx.x / 32; stripe < stripes; stripe += blockDim.x / 32) sum += partial[stripe * pitch + column];
    return sum;
}
