// Forward:  y = factor * Sum x, in double precision.
// Backward: grad_x = factor * grad_y everywhere.                      x: [count], any shape; y: []
// Each block sums a run of x of its own, and one block folds the runs, first to last: the order depends on the count
// alone. Saves nothing. Overwrites its outputs. Launched by Ops/Sum.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// Grid: one block per run of `run` elements.
extern "C" __global__ void __launch_bounds__(Threads) sum_runs(double* __restrict__ sums,   // [runs]
                                                               const float* __restrict__ x, // [count]
                                                               int64_t run, int64_t count)
{
    SHARED(double, scratch, [Threads / 32]);
    const int64_t start = blockIdx.x * run, end = start + run < count ? start + run : count;
    double sum = 0;
    for (int64_t i = start + threadIdx.x; i < end; i += Threads) sum += x[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block.
extern "C" __global__ void __launch_bounds__(Threads) sum_fold(float* __restrict__ y,           // []
                                                               const double* __restrict__ sums, // [runs]
                                                               double factor, int runs)
{
    SHARED(double, scratch, [Threads / 32]);
    double sum = 0;
    for (int i = threadIdx.x; i < runs; i += Threads) sum += sums[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) y[0] = static_cast<float>(factor * sum);
}

// Any grid.
extern "C" __global__ void __launch_bounds__(Threads) sum_backward(float* __restrict__ grad_x,       // [count]
                                                                   const float* __restrict__ grad_y, // []
                                                                   double factor, int64_t count)
{
    const float value = static_cast<float>(factor * grad_y[0]);
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) grad_x[i] = value;
}
