// Forward:  y = x P(x), P the normal distribution function: 1/2 erfc(-x / sqrt 2), the exact form.
// Backward: grad_x = grad_y (P(x) + x p(x)), p(x) = exp(-x^2 / 2) / sqrt(2 pi).       x, y: [count], any shape
// Saved for backward: x. Overwrites its outputs. Any grid: each thread takes every (grid size)-th element.
// Launched by Ops/Gelu.Cuda.cs.
#include "common/prelude.cuh"

DEV float normal_cdf(float x) { return 0.5f * erfcf(-0.707106781f * x); }

extern "C" __global__ void __launch_bounds__(256) gelu_forward(float* __restrict__ y,       // [count]
                                                               const float* __restrict__ x, // [count]
                                                               int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        // The limit at -infinity is 0, where -infinity * 0 would be NaN.
        const float value = x[i] < -20.0f ? -20.0f : x[i];
        y[i] = value * normal_cdf(value);
    }
}

extern "C" __global__ void __launch_bounds__(256) gelu_backward(float* __restrict__ grad_x,       // [count]
                                                                const float* __restrict__ grad_y, // [count]
                                                                const float* __restrict__ x,      // [count]
                                                                int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        // Beyond +-20 the slope is 0 or 1; clamping keeps infinity * 0 away.
        float value = x[i];
        if (value < -20.0f) value = -20.0f;
        if (value > 20.0f) value = 20.0f;
        const float density = 0.398942280f * expf(-0.5f * value * value);
        grad_x[i] = grad_y[i] * (normal_cdf(value) + value * density);
    }
}
