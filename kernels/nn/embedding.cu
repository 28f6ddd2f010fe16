// Rows of a table by their index.
//
// Forward:  y[n] = table[index_n]                                     table: [entries, dim], y: [rows, dim], index: [rows]
// Backward: grad_table[v] = Sum_{n: index_n = v} grad_y[n], in the order of n
//
// Saved for backward: the indices. Overwrites its outputs. A warp per row forward and per entry backward, eight per
// block. An entry's warp looks for its rows among all indices, 32 at a time: no atomics, a fixed order of sums.
// Launched by Ops/Embedding.Cuda.cs, after find_outside (find_outside.cu) found no bad index.
#include "common/prelude.cuh"

constexpr int Threads = 256;

extern "C" __global__ void __launch_bounds__(Threads) embedding_forward(float* __restrict__ y,           // [rows, dim]
                                                                        const float* __restrict__ table, // [entries, dim]
                                                                        const int* __restrict__ indices, // [rows]
                                                                        int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const float* from = table + static_cast<int64_t>(indices[row]) * dim;
    float* to = y + row * dim;
    for (int d = lane; d < dim; d += 32) to[d] = from[d];
}

extern "C" __global__ void __launch_bounds__(Threads) embedding_backward(float* __restrict__ grad_table,   // [entries, dim]
                                                                         const float* __restrict__ grad_y, // [rows, dim]
                                                                         const int* __restrict__ indices,  // [rows]
                                                                         int entries, int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t entry = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (entry >= entries) return; // with its whole warp
    float* to = grad_table + entry * dim;
    // Every element belongs to one lane, which alone reads it again.
    for (int d = lane; d < dim; d += 32) to[d] = 0.0f;
    for (int first = 0; first < rows; first += 32)
    {
        const int row = first + lane;
        uint32_t hits = __ballot_sync(0xffffffffu, row < rows && indices[row] == entry);
        for (int hit = 0; hits != 0; hit++, hits >>= 1)
        {
            if (!(hits & 1)) continue;
            const float* from = grad_y + static_cast<int64_t>(first + hit) * dim;
            for (int d = lane; d < dim; d += 32) to[d] += from[d];
        }
    }
}
