// y = x in the other type: float32 to bfloat16, to nearest with ties to even, and back, exactly.        x, y: [count]
// The backward pass of each is the other, of the gradient. Overwrites y. Any grid: each thread takes every (grid size)-th
// pair of elements; an odd last element is the first thread's. Launched by Ops/Cast.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) cast_to_bf16(bf16* __restrict__ y,        // [count]
                                                               const float* __restrict__ x, // [count]
                                                               int64_t count)
{
    for (int64_t pair = grid_thread(); pair < count / 2; pair += grid_threads())
        reinterpret_cast<uint32_t*>(y)[pair] = pack_bf16(x[2 * pair], x[2 * pair + 1]);
    if (count % 2 == 1 && grid_thread() == 0) y[count - 1] = to_bf16(x[count - 1]);
}

extern "C" __global__ void __launch_bounds__(256) cast_to_float(float* __restrict__ y,      // [count]
                                                                const bf16* __restrict__ x, // [count]
                                                                int64_t count)
{
    for (int64_t pair = grid_thread(); pair < count / 2; pair += grid_threads())
    {
        const uint32_t both = reinterpret_cast<const uint32_t*>(x)[pair];
        y[2 * pair] = low_float(both);
        y[2 * pair + 1] = high_float(both);
    }
    if (count % 2 == 1 && grid_thread() == 0) y[count - 1] = to_float(x[count - 1]);
}
