// Forward:  y = min(max(x, low), high); NaN stays.                                   x, y: [count], any shape
// Backward: grad_x = grad_y, but 0 where x < low or x > high.
// Saved for backward: x. Overwrites its outputs; y may be x. Any grid: each thread takes every (grid size)-th element.
// Launched by Ops/Clamp.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) clamp_forward(float* y,       // [count]
                                                                const float* x, // [count]
                                                                float low, float high, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

extern "C" __global__ void __launch_bounds__(256) clamp_backward(float* __restrict__ grad_x,       // [count]
                                                                 const float* __restrict__ grad_y, // [count]
                                                                 const float* __restrict__ x,      // [count]
                                                                 float low, float high, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) grad_x[i] = x[i] < low || x[i] > high ? 0.0f : grad_y[i];
}
