// y = factor x, forward; grad_x = factor grad_y, backward: one kernel.                x, y: [count], any shape
// Saves nothing. Overwrites y. Any grid: each thread takes every (grid size)-th element. Launched by Ops/Scale.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) scale(float* __restrict__ y,       // [count]
                                                        const float* __restrict__ x, // [count]
                                                        float factor, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = factor * x[i];
}
