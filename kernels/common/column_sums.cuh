// Sums over the rows of a matrix by blocks that are 32 columns wide: thread t has column t % 32 and line t / 32 of
// blockDim.x / 32. What bias gradients and batch normalisation share.
#pragma once

// value(first) + value(first + stride) + ... below end: 64 terms at a time in float32, those in double precision.
template <class Value> DEV double sum_strided(const Value& value, int64_t first, int64_t end, int stride)
{
    double sum = 0;
    int64_t i = first;
    for (; i + 63 * static_cast<int64_t>(stride) < end; i += 64 * static_cast<int64_t>(stride))
    {
        float run = 0.0f;
#pragma unroll 8
        for (int n = 0; n < 64; n++) run += value(i + n * static_cast<int64_t>(stride));
        sum += run;
    }
    float rest = 0.0f;
    for (; i < end; i += stride) rest += value(i);
    return sum + rest;
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
