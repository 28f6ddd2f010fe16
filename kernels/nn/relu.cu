// Forward:  y = max(x, 0); NaN stays NaN.
// Backward: grad_x = y > 0 ? grad_y : 0.                              x, y: [count], any shape
// Saved for backward: y. Overwrites its outputs. Any grid: each thread takes every (grid size)-th element.
// Launched by Ops/Relu.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) relu_forward(float* __restrict__ y,       // [count]
                                                               const float* __restrict__ x, // [count]
                                                               int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const float value = x[i];
        y[i] = value < 0.0f ? 0.0f : value;
    }
}

extern "C" __global__ void __launch_bounds__(256) relu_backward(float* __restrict__ grad_x,       // [count]
                                                                const float* __restrict__ grad_y, // [count]
                                                                const float* __restrict__ y,      // [count]
                                                                int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) grad_x[i] = y[i] > 0.0f ? grad_y[i] : 0.0f;
}
