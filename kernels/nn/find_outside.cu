// The first of `count` whole numbers outside of [0, bound): labels and indices are checked before they index anything.
// Launched by Ops/IndexCheck.Cuda.cs for cross-entropy and embedding.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// found[0] = the first position, found[1] = the number there; -1 and 0 when there is none. Overwrites. One block.
extern "C" __global__ void __launch_bounds__(Threads) find_outside(int* __restrict__ found,        // [2]
                                                                   const int* __restrict__ values, // [count]
                                                                   int bound, int count)
{
    SHARED(int, first, [Threads]);
    int mine = count;
    for (int i = threadIdx.x; i < count && mine == count; i += Threads)
        if (values[i] < 0 || values[i] >= bound) mine = i;
    first[threadIdx.x] = mine;
    __syncthreads(); // every thread's first one is there
    if (threadIdx.x != 0) return;
    for (int t = 1; t < Threads; t++) mine = min(mine, first[t]);
    found[0] = mine == count ? -1 : mine;
    found[1] = mine == count ? 0 : values[mine];
}
