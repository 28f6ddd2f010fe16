// Where a thread is in a grid of one dimension, for kernels whose threads take every (grid size)-th element, and the
// way from an element's number to its place.
#pragma once

DEV int64_t grid_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
DEV int64_t grid_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// value / divisor, neither negative. A 64-bit division is several times dearer than one of 32 bits, which nearly always do.
DEV int64_t quotient(int64_t value, int64_t divisor)
{
    if ((value | divisor) >> 32 != 0) return value / divisor;
    return static_cast<uint32_t>(value) / static_cast<uint32_t>(divisor);
}
