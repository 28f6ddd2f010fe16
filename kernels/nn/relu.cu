// Forward:  y = max(x, 0); NaN stays NaN.
// Backward: grad_x = y > 0 ? grad_y : 0.                              x, y: [count], any shape
// In float32 or bfloat16. Saved for backward: y. Overwrites its outputs. Any grid: each thread takes every (grid size)-th element.
// Launched by Ops/Relu.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

template <class T> DEV void forward(T* y, const T* x, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const T value = x[i];
        if (to_float(value) < 0.0f) store(y[i], 0.0f);
        else y[i] = value;
    }
}

template <class T> DEV void backward(T* grad_x, const T* grad_y, const T* y, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        if (to_float(y[i]) > 0.0f) grad_x[i] = grad_y[i];
        else store(grad_x[i], 0.0f);
    }
}

extern "C" __global__ void __launch_bounds__(256) relu_forward(float* __restrict__ y,       // [count]
                                                               const float* __restrict__ x, // [count]
                                                               int64_t count)
{
    forward(y, x, count);
}

extern "C" __global__ void __launch_bounds__(256) relu_forward_bf16(bf16* __restrict__ y,       // [count]
                                                                    const bf16* __restrict__ x, // [count]
                                                                    int64_t count)
{
    forward(y, x, count);
}

extern "C" __global__ void __launch_bounds__(256) relu_backward(float* __restrict__ grad_x,       // [count]
                                                                const float* __restrict__ grad_y, // [count]
                                                                const float* __restrict__ y,      // [count]
                                                                int64_t count)
{
    backward(grad_x, grad_y, y, count);
}

extern "C" __global__ void __launch_bounds__(256) relu_backward_bf16(bf16* __restrict__ grad_x,       // [count]
                                                                     const bf16* __restrict__ grad_y, // [count]
                                                                     const bf16* __restrict__ y,      // [count]
                                                                     int64_t count)
{
    backward(grad_x, grad_y, y, count);
}
