// The k keys most similar to each query, streaming: similarities live in tiles, never as a matrix.
//
//   s_ij = q_i . k_j                    rows prepared by contrastive_prepare: normalised, rounded, padded
//   row i's result: the k greatest s_ij with their j, by (s descending, j ascending); NaN is above every number
//
// A candidate is one 64-bit number, greater where it comes first: similarity in the upper half, column in the lower. No two
// of a row are equal, so what a row keeps does not depend on the order in which its candidates are found or merged: the
// positions in a tile's queue are drawn by an integer atomic, and the result is the same in any order of threads.
//
// A block takes a tile of rows through a slice of the keys. After each tile of products, what is above its row's k-th best
// so far waits in a queue in shared memory, in the place of the products' stages; then a warp per row merges it into the
// row's list, in shared memory too where k lists fit, else at its place among the results, in L1 and L2. The lists of the
// slices are merged by cosine_top_k_merge.
// Work: 2 rows columns dim operations; a row takes some k (1 + log(columns / k)) candidates per slice. Forward only,
// nothing saved. Everything overwrites its outputs. Launched by Ops/CosineTopK.Cuda.cs.
#include "common/prelude.cuh"

using namespace product;

struct TopKArguments
{
    uint64_t* lists;     // [slices, rows, k] descending, zeros past the last
    const void* queries; // [rows, pitch]
    const void* keys;    // [columns, pitch]
    int rows, columns, pitch, k;
    int tiles_per_slice;
    int exclude_self;    // leave column i out for row i
    int lists_in_shared; // dynamic shared memory has room for [edge, k] behind the stages
};

// A similarity as a whole number of the same order, above 0; both zeros are one, and NaN is the greatest.
DEV uint32_t order_of(float s)
{
    const uint32_t bits = __float_as_uint(s + 0.0f);
    return s != s ? 0xffffffffu : bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

DEV float similarity_of(uint32_t order) { return __uint_as_float(order >> 31 ? order ^ 0x80000000u : ~order); }

// How many of a descending list are above a candidate.
DEV int count_above(const uint64_t* list, int k, uint64_t candidate)
{
    int low = 0, high = k;
    while (low < high)
    {
        const int middle = (low + high) / 2;
        if (list[middle] > candidate) low = middle + 1;
        else high = middle;
    }
    return low;
}

constexpr int QueueColumns = 64; // columns of a tile whose candidates are queued at once

// Merges what waits in a row's queue, in any order, into its descending list. One warp; ends with both free for all lanes.
DEV void merge(uint64_t* list, int k, const uint64_t* queue, int waiting)
{
    const int lane = threadIdx.x % 32;
    uint64_t mine[QueueColumns / 32];
    int to[QueueColumns / 32];
#pragma unroll
    for (int e = 0; e < QueueColumns / 32; e++)
    {
        const bool present = lane + 32 * e < waiting;
        mine[e] = present ? queue[lane + 32 * e] : 0;
        to[e] = present ? count_above(list, k, mine[e]) : k;
        for (int i = 0; i < waiting; i++) to[e] += queue[i] > mine[e];
    }
    // The list makes room, its end first: what moves goes to places that were read before.
    for (int first = (k - 1) / 32 * 32; first >= 0; first -= 32)
    {
        const int from = first + lane;
        const uint64_t kept = from < k ? list[from] : 0;
        int at = from;
        for (int i = 0; i < waiting; i++) at += queue[i] > kept;
        __syncwarp(); // all lanes have read the places that are written now
        if (at != from && at < k) list[at] = kept;
    }
    __syncwarp(); // the list has moved
#pragma unroll
    for (int e = 0; e < QueueColumns / 32; e++)
        if (to[e] < k) list[to[e]] = mine[e];
    __syncwarp(); // the list is whole, and the queue was read
}

// Grid: (tiles of rows, slices).
template <class Number> DEV void top_k(const TopKArguments& p)
{
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge, Side = Tile<Number>::Side;
    static_assert(Edge * QueueColumns * static_cast<int>(sizeof(uint64_t)) <= SharedBytes<Number>, "the queue fits in the stages");
    DYN_SHARED(unsigned char, shared);
    SHARED(uint32_t, thresholds, [Edge]); // what the k-th best of each row is above
    SHARED(int, waiting, [Edge]);         // how many candidates of each row are queued
    uint64_t* const queue = reinterpret_cast<uint64_t*>(shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.x * Edge;
    uint64_t* const results = p.lists + (static_cast<int64_t>(blockIdx.y) * p.rows + row0) * p.k;
    uint64_t* const lists = p.lists_in_shared ? reinterpret_cast<uint64_t*>(shared + SharedBytes<Number>) : results;
    const int rows = min(Edge, p.rows - row0);

    for (int r = warp; r < rows; r += Threads / 32)
        for (int i = lane; i < p.k; i += 32) lists[static_cast<int64_t>(r) * p.k + i] = 0;
    for (int r = threadIdx.x; r < Edge; r += Threads)
    {
        thresholds[r] = 0;
        waiting[r] = 0;
    }
    const int end = min(p.columns, (static_cast<int>(blockIdx.y) + 1) * p.tiles_per_slice * Edge);
    for (int column0 = blockIdx.y * p.tiles_per_slice * Edge; column0 < end; column0 += Edge)
    {
        const Operand<T> a = {static_cast<const T*>(p.queries), p.pitch, row0, p.rows, 0};
        const Operand<T> b = {static_cast<const T*>(p.keys), p.pitch, column0, p.columns, 0};
        Tile<Number> tile;
        tile.clear();
        multiply<Number, true, true>(tile, shared, a, b, 0, p.pitch); // its barriers also show what was set above
        for (int first = 0; first < Edge; first += QueueColumns)
        {
#pragma unroll
            for (int r = 0; r < Side; r++)
            {
                const int row = tile.row(r);
                const uint32_t threshold = thresholds[row];
#pragma unroll
                for (int c = 0; c < Side; c++)
                {
                    const int column = tile.column(c), j = column0 + column;
                    const uint32_t order = order_of(tile.value(r, c));
                    // Later columns come after equal ones, so only what is above gets in.
                    if (order <= threshold || row >= rows || j >= end) continue;
                    if ((Edge > QueueColumns && column / QueueColumns * QueueColumns != first) || (p.exclude_self && j == row0 + row)) continue;
                    queue[row * QueueColumns + atomic_add(&waiting[row], 1)] = static_cast<uint64_t>(order) << 32 | ~static_cast<uint32_t>(j);
                }
            }
            __syncthreads(); // the candidates of all threads are queued
            for (int r = warp; r < rows; r += Threads / 32)
            {
                const int count = waiting[r];
                if (count == 0) continue; // with its whole warp
                uint64_t* const list = lists + static_cast<int64_t>(r) * p.k;
                merge(list, p.k, queue + r * QueueColumns, count);
                if (lane == 0)
                {
                    thresholds[r] = static_cast<uint32_t>(list[p.k - 1] >> 32);
                    waiting[r] = 0;
                }
            }
            __syncthreads(); // thresholds are new, and the queue's memory may be filled again
        }
    }
    if (!p.lists_in_shared) return;
    for (int r = warp; r < rows; r += Threads / 32)
        for (int i = lane; i < p.k; i += 32) results[static_cast<int64_t>(r) * p.k + i] = lists[static_cast<int64_t>(r) * p.k + i];
}

extern "C" __global__ void __launch_bounds__(256, 2) cosine_top_k_f32(TopKArguments arguments) { top_k<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_top_k_tf32(TopKArguments arguments) { top_k<Tf32<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_top_k_tf32_small(TopKArguments arguments) { top_k<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_top_k_bf16(TopKArguments arguments) { top_k<BFloat16<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_top_k_bf16_small(TopKArguments arguments) { top_k<BFloat16<64>>(arguments); }

// Merges a row's lists: a candidate's place is the number of those above it in all lists. A block per row.
extern "C" __global__ void __launch_bounds__(128) cosine_top_k_merge(int* __restrict__ indices,          // [rows, k]
                                                                     float* __restrict__ similarities,   // [rows, k]
                                                                     const uint64_t* __restrict__ lists, // [slices, rows, k]
                                                                     int rows, int k, int slices)
{
    const int row = blockIdx.x;
    auto list = [&](int slice) { return lists + (static_cast<int64_t>(slice) * rows + row) * k; };
    for (int64_t e = threadIdx.x; e < static_cast<int64_t>(slices) * k; e += blockDim.x)
    {
        const int own = static_cast<int>(e / k);
        int at = static_cast<int>(e % k);
        const uint64_t candidate = list(own)[at];
        for (int slice = 0; slice < slices && at < k; slice++)
            if (slice != own) at += count_above(list(slice), k, candidate);
        if (candidate == 0 || at >= k) continue; // a slice of fewer than k keys ends in zeros
        indices[static_cast<int64_t>(row) * k + at] = static_cast<int>(~static_cast<uint32_t>(candidate));
        similarities[static_cast<int64_t>(row) * k + at] = similarity_of(static_cast<uint32_t>(candidate >> 32));
    }
}
