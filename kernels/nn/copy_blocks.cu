// Copies `count` blocks of `block` elements: block i goes from source[source_start + i source_step] to
// destination[destination_start + i destination_step]. Concatenation and slices, forward and backward, are made of it.
// Overwrites what it copies to. Any grid: each thread takes every (grid size)-th element.
// Launched by Ops/Concat.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) copy_blocks(float* __restrict__ destination, int64_t destination_start,
                                                              int64_t destination_step, const float* __restrict__ source,
                                                              int64_t source_start, int64_t source_step, int64_t block, int64_t count)
{
    for (int64_t e = grid_thread(); e < block * count; e += grid_threads())
    {
        const int64_t i = quotient(e, block), within = e - i * block;
        destination[destination_start + i * destination_step + within] = source[source_start + i * source_step + within];
    }
}
