// Forward:  y = e^x.                                                                 x, y: [count], any shape
// Backward: grad_x = grad_y y, a product of broadcast.cu.
// Saved for backward: y. Overwrites y. Any grid: each thread takes every (grid size)-th element. Launched by Ops/Exp.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) exp_forward(float* __restrict__ y,       // [count]
                                                              const float* __restrict__ x, // [count]
                                                              int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = expf(x[i]);
}
