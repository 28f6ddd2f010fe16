// The k keys most similar to each query, streaming: similarities live in tiles, never as a matrix.
//
//   s_ij = q_i . k_j                    rows prepared by contrastive_prepare: normalised, rounded, padded
//   row i's result: the k greatest s_ij with their j, by (s descending, j ascending); NaN is above every number
//
// A candidate is one 64-bit number, greater where it comes first: similarity in the upper half, column in the lower. No two
// of a row are equal, so what a row keeps does not depend on the order in which candidates are found and lists are merged.
//
// A block takes a tile of rows through a slice of the keys. Each tile of products goes to shared memory, in the place of the
// stages; there a warp per row queues what is above the row's k-th best so far, in the place of the row, and merges it into
// the row's list, in shared memory too where k lists fit, else at its place among the results, in L1 and L2. The lists of
// the slices are merged by cosine_top_k_merge.
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

constexpr int Queue = 64;  // columns of a tile whose candidates are queued at once
constexpr int Pitch = 132; // floats from one row of a tile to the next: room for a queue, and 16 bytes for the banks' sake

// Merges what waits in a row's queue, in any order, into its descending list. One warp; ends with both free for all lanes.
DEV void merge(uint64_t* list, int k, const uint64_t* queue, int waiting)
{
    const int lane = threadIdx.x % 32;
    uint64_t mine[Queue / 32];
    int to[Queue / 32];
#pragma unroll
    for (int e = 0; e < Queue / 32; e++)
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
    for (int e = 0; e < Queue / 32; e++)
        if (to[e] < k) list[to[e]] = mine[e];
    __syncwarp(); // the list is whole, and the queue was read
}

// Merges what one row of a tile has above `threshold` into the row's list. One warp.
// Returns what the list's k-th best is above now. Ends with the row's place read.
template <int EDGE> DEV uint32_t take_row(float* values, uint64_t* list, int k, uint32_t threshold, int column0, int end, int self)
{
    const int lane = threadIdx.x % 32;
    uint32_t order[EDGE / 32];
    bool any = false;
#pragma unroll
    for (int e = 0; e < EDGE / 32; e++)
    {
        const int column = column0 + lane + 32 * e;
        order[e] = column < end && column != self ? order_of(values[lane + 32 * e]) : 0;
        any |= order[e] > threshold; // later columns come after equal ones, so only what is above gets in
    }
    if (__ballot_sync(0xffffffffu, any) == 0) return threshold; // with its whole warp
    uint64_t* const queue = reinterpret_cast<uint64_t*>(values);
    __syncwarp(); // all lanes have read the row, whose place the queue takes
#pragma unroll
    for (int e = 0; e < EDGE / 32; e += Queue / 32)
    {
        int waiting = 0;
#pragma unroll
        for (int part = e; part < e + Queue / 32; part++)
        {
            const bool above = order[part] > threshold;
            const uint32_t all = __ballot_sync(0xffffffffu, above);
            if (above)
                queue[waiting + __popc(all & ((1u << lane) - 1))] = static_cast<uint64_t>(order[part]) << 32 | ~static_cast<uint32_t>(column0 + lane + 32 * part);
            waiting += __popc(all);
        }
        if (waiting == 0) continue; // with its whole warp
        __syncwarp(); // the queue is whole
        merge(list, k, queue, waiting);
        threshold = static_cast<uint32_t>(list[k - 1] >> 32);
    }
    return threshold;
}

// Grid: (tiles of rows, slices).
template <class Number> DEV void top_k(const TopKArguments& p)
{
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge;
    static_assert(Edge * Pitch * static_cast<int>(sizeof(float)) <= SharedBytes<Number>, "the tile fits in the stages");
    static_assert(Pitch >= Edge && Pitch * sizeof(float) >= Queue * sizeof(uint64_t), "a row has room for its queue");
    DYN_SHARED(unsigned char, shared);
    SHARED(uint32_t, thresholds, [Edge]); // what the k-th best of each row is above; a row is its warp's alone
    float* const values = reinterpret_cast<float*>(shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.x * Edge, rows = min(Edge, p.rows - row0);
    uint64_t* const results = p.lists + (static_cast<int64_t>(blockIdx.y) * p.rows + row0) * p.k;
    uint64_t* const lists = p.lists_in_shared ? reinterpret_cast<uint64_t*>(shared + SharedBytes<Number>) : results;
    for (int r = warp; r < rows; r += Threads / 32)
    {
        for (int i = lane; i < p.k; i += 32) lists[static_cast<int64_t>(r) * p.k + i] = 0;
        if (lane == 0) thresholds[r] = 0;
    }
    __syncwarp(); // the warp's lists and thresholds are set
    const int end = min(p.columns, (static_cast<int>(blockIdx.y) + 1) * p.tiles_per_slice * Edge);
    for (int column0 = blockIdx.y * p.tiles_per_slice * Edge; column0 < end; column0 += Edge)
    {
        const Operand<T> a = {static_cast<const T*>(p.queries), p.pitch, row0, p.rows, 0};
        const Operand<T> b = {static_cast<const T*>(p.keys), p.pitch, column0, p.columns, 0};
        Tile<Number> tile;
        tile.clear();
        multiply<Number, true, true>(tile, shared, a, b, 0, p.pitch);
#pragma unroll
        for (int r = 0; r < Tile<Number>::Rows; r++)
#pragma unroll
            for (int c = 0; c < Tile<Number>::Columns; c++) values[tile.row(r) * Pitch + tile.column(c)] = tile.value(r, c);
        __syncthreads(); // the whole tile is there
        for (int r = warp; r < rows; r += Threads / 32)
        {
            const uint32_t before = thresholds[r];
            const uint32_t threshold = take_row<Edge>(values + r * Pitch, lists + static_cast<int64_t>(r) * p.k, p.k, before, column0, end, p.exclude_self ? row0 + r : -1);
            if (lane == 0 && threshold != before) thresholds[r] = threshold;
        }
        __syncthreads(); // the tile was read, and its memory may be filled again
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
