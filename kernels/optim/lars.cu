// The passes of a LARS step (You, Gitman, Ginsburg 2017) over one tensor, with u = grad + decay p:
//
//   |p|, |u|                                       for the trust ratio, which the caller puts into inner or outer
//   m <- momentum m + inner u;  p <- p - outer m   in place
//
// The norms' partial sums have a partition by the size alone and are folded in order, so that every run gives the same
// bits. 2 floats moved per element for the norms, 5 for the step. Launched by Ops/LarsStep.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// Every block's sums of p^2 and u^2. Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(Threads) lars_squares(float* __restrict__ partial,         // [blocks, 2]
                                                                   const float* __restrict__ parameter, // [count]
                                                                   const float* __restrict__ grad,      // [count]
                                                                   float decay, int64_t count)
{
    SHARED(double, scratch, [Threads / 32]);
    double sums[2];
    sum_strided(sums, [&](int64_t i, float (&values)[2]) {
        const float p = parameter[i], u = grad[i] + decay * p;
        values[0] = p * p;
        values[1] = u * u;
    }, static_cast<int64_t>(blockIdx.x) * Threads + threadIdx.x, count, static_cast<int64_t>(gridDim.x) * Threads);
    for (int k = 0; k < 2; k++)
    {
        const double sum = block_sum(sums[k], scratch);
        if (threadIdx.x == 0) partial[2 * blockIdx.x + k] = static_cast<float>(sum);
    }
}

// norms = the roots of the blocks' sums. One block.
extern "C" __global__ void __launch_bounds__(Threads) lars_norms(float* __restrict__ norms,         // [2] |p|, |u|
                                                                 const float* __restrict__ partial, // [blocks, 2]
                                                                 int blocks)
{
    SHARED(double, scratch, [Threads / 32]);
    for (int k = 0; k < 2; k++)
    {
        double sum = 0;
        for (int block = threadIdx.x; block < blocks; block += Threads) sum += partial[2 * block + k];
        sum = block_sum(sum, scratch);
        if (threadIdx.x == 0) norms[k] = static_cast<float>(sqrt(sum));
    }
}

// Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(Threads) lars_step(float* __restrict__ parameter,  // [count]
                                                                float* __restrict__ buffer,     // [count] m
                                                                const float* __restrict__ grad, // [count]
                                                                float inner, float outer, float momentum, float decay, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    {
        const float p = parameter[i], m = momentum * buffer[i] + inner * (grad[i] + decay * p);
        buffer[i] = m;
        parameter[i] = p - outer * m;
    }
}
