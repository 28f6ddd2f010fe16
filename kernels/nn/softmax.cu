// Softmax of rows with a temperature tau.
//
// Forward:  y = exp((x - max x) / tau) / Sum exp((x - max x) / tau)                    x, y: [rows, dim]
// Backward: grad_x = y (grad_y - Sum grad_y y) / tau
//
// Saved for backward: y. Overwrites its outputs. A row with NaN or +infinity, or of -infinity alone, gives NaN.
// A warp per row, eight rows per block; x is read twice forward, and the second time comes from the cache.
// Launched by Ops/Softmax.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// A sum of exponentials relative to the greatest term seen: sum = Sum exp((x - maximum) / tau).
struct ExpSum
{
    float maximum, sum;
};

extern "C" __global__ void __launch_bounds__(Threads) softmax_forward(float* __restrict__ y,       // [rows, dim]
                                                                      const float* __restrict__ x, // [rows, dim]
                                                                      float inv_temperature, int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* from = x + row * dim;
    float* to = y + row * dim;

    // Each lane keeps its own maximum and rescales its sum when a greater one comes.
    ExpSum mine = {-INFINITY, 0.0f};
    for (int d = lane; d < dim; d += 32)
    {
        const float value = from[d], maximum = max_op(mine.maximum, value);
        if (value == -INFINITY) continue; // adds nothing; -infinity - -infinity would be NaN
        if (maximum != mine.maximum) mine.sum *= expf((mine.maximum - maximum) * inv_temperature);
        mine.sum += expf((value - maximum) * inv_temperature);
        mine.maximum = maximum;
    }
    const float maximum = warp_max(mine.maximum);
    // A lane without elements has no sum to rescale.
    const float scaled = mine.sum == 0.0f ? 0.0f : mine.sum * expf((mine.maximum - maximum) * inv_temperature);
    const float inverse = 1.0f / warp_sum(scaled);
    for (int d = lane; d < dim; d += 32) to[d] = expf((from[d] - maximum) * inv_temperature) * inverse;
}

extern "C" __global__ void __launch_bounds__(Threads) softmax_backward(float* __restrict__ grad_x,       // [rows, dim]
                                                                       const float* __restrict__ grad_y, // [rows, dim]
                                                                       const float* __restrict__ y,      // [rows, dim]
                                                                       float inv_temperature, int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* out = y + row * dim;
    const float* grad_out = grad_y + row * dim;
    float* to = grad_x + row * dim;

    float along = 0.0f; // y . grad_y
    for (int d = lane; d < dim; d += 32) along += out[d] * grad_out[d];
    along = warp_sum(along);
    for (int d = lane; d < dim; d += 32) to[d] = out[d] * inv_temperature * (grad_out[d] - along);
}
