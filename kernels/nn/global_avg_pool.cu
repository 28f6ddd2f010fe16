// Forward:  y[n, c] = Sum_p x[n, p, c] / pixels                        x: [images, pixels, channels], y: [images, channels]
// Backward: grad_x[n, p, c] = grad_y[n, c] / pixels
// In float32 or bfloat16, sums in float32. Saves nothing. Overwrites its outputs. Launched by Ops/GlobalAvgPool.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

constexpr int Threads = 256;
constexpr int Groups = Threads / 32; // that share the pixels of 32 channels

// One block per image and 32 channels, `chunks` to an image.
template <class T> DEV void forward(T* y, const T* x, int pixels, int channels, int chunks, float (*group_sums)[32])
{
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32;
    const int64_t image = blockIdx.x / chunks;
    const int c = blockIdx.x % chunks * 32 + lane;
    float sum = 0.0f;
    if (c < channels)
        for (int p = group; p < pixels; p += Groups) sum += to_float(x[(image * pixels + p) * channels + c]);
    group_sums[group][lane] = sum;
    __syncthreads(); // every group's sums are there
    if (group != 0 || c >= channels) return;
    for (int g = 1; g < Groups; g++) sum += group_sums[g][lane];
    store(y[image * channels + c], sum / pixels);
}

template <class T> DEV void backward(T* grad_x, const T* grad_y, int pixels, int channels, int64_t count)
{
    const float scale = 1.0f / pixels;
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const int64_t pixel = quotient(i, channels), image = quotient(pixel, pixels);
        store(grad_x[i], to_float(grad_y[image * channels + (i - pixel * channels)]) * scale);
    }
}

// Grid: one block per image and 32 channels.
extern "C" __global__ void __launch_bounds__(Threads) global_avg_pool_forward(float* __restrict__ y, const float* __restrict__ x,
                                                                              int pixels, int channels, int chunks)
{
    SHARED(float, group_sums, [Groups][32]);
    forward(y, x, pixels, channels, chunks, group_sums);
}

extern "C" __global__ void __launch_bounds__(Threads) global_avg_pool_forward_bf16(bf16* __restrict__ y, const bf16* __restrict__ x,
                                                                                   int pixels, int channels, int chunks)
{
    SHARED(float, group_sums, [Groups][32]);
    forward(y, x, pixels, channels, chunks, group_sums);
}

// Any grid: each thread takes every (grid size)-th element of grad_x.
extern "C" __global__ void __launch_bounds__(Threads) global_avg_pool_backward(float* __restrict__ grad_x,
                                                                               const float* __restrict__ grad_y, int pixels,
                                                                               int channels, int64_t count)
{
    backward(grad_x, grad_y, pixels, channels, count);
}

extern "C" __global__ void __launch_bounds__(Threads) global_avg_pool_backward_bf16(bf16* __restrict__ grad_x,
                                                                                    const bf16* __restrict__ grad_y, int pixels,
                                                                                    int channels, int64_t count)
{
    backward(grad_x, grad_y, pixels, channels, count);
}
