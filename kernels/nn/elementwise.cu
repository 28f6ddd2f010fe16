// Elementwise ops on dense arrays. Launched by Ops/AddInPlace.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

// sum[i] += term[i], i < count. Accumulates. Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(256) add_in_place(float* __restrict__ sum,        // [count]
                                                               const float* __restrict__ term, // [count]
                                                               int64_t count)
{
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride)
        sum[i] += term[i];
}

extern "C" __global__ void __launch_bounds__(256) add_in_place_bf16(bf16* __restrict__ sum,        // [count]
                                                                    const bf16* __restrict__ term, // [count]
                                                                    int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) store(sum[i], to_float(sum[i]) + to_float(term[i]));
}
