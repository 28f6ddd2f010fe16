// Where a thread is in a grid of one dimension, for kernels whose threads take every (grid size)-th element.
#pragma once

DEV int64_t grid_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
DEV int64_t grid_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }
