// y = x mask / (1 - p), forward; grad_x = grad_y mask / (1 - p), backward: one kernel.     x, y: [count], any shape
// Element i, in storage order, is kept when number i of the Philox stream is at least p: the bits of the CPU device.
// Saves nothing: the mask is drawn again. Overwrites y. Any grid: each thread takes every (grid size)-th four elements.
// Launched by Ops/Dropout.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// A product, so that NaN stays NaN where it is dropped too.
DEV float keep(float x, uint32_t bits, float p, float scale) { return x * (philox_unit(bits) >= p ? scale : 0.0f); }

// x and y are 16-byte aligned.
extern "C" __global__ void __launch_bounds__(Threads) dropout(float* __restrict__ y,       // [count]
                                                              const float* __restrict__ x, // [count]
                                                              float p, float scale, uint64_t seed, uint64_t stream, int64_t count)
{
    const int64_t whole = count / 4;
    for (int64_t i = grid_thread(); i < whole; i += grid_threads())
    {
        const PhiloxBlock bits = philox_block(i, stream, seed);
        const float4 in = reinterpret_cast<const float4*>(x)[i];
        reinterpret_cast<float4*>(y)[i] = {keep(in.x, bits.x, p, scale), keep(in.y, bits.y, p, scale),
                                           keep(in.z, bits.z, p, scale), keep(in.w, bits.w, p, scale)};
    }
    if (grid_thread() != 0) return;
    const PhiloxBlock last = philox_block(whole, stream, seed);
    const uint32_t bits[3] = {last.x, last.y, last.z};
    for (int64_t i = 4 * whole; i < count; i++) y[i] = keep(x[i], bits[i - 4 * whole], p, scale);
}
