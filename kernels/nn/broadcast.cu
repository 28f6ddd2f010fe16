// Sum, difference and product of two arrays with NumPy's broadcasting, and the sum over what was repeated.
//
// Forward:  y = a + b, a - b or a * b, both repeated to y's shape.
// Backward: an operand's gradient is grad_y (times the other operand, for the product), summed over the dimensions it
//           was repeated along.
//
// The host brings every shape down to nested loops over y as it is stored (Ops/Broadcast.cs), each with one step per
// operand: 0 where it repeats.
// Saves nothing itself. Overwrites its outputs. Launched by Ops/Elementwise.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;
constexpr int MaxLoops = 8;
constexpr int ColumnGroups = Threads / 32; // that share the terms of 32 columns

// Outermost first. Passed by value: the same struct is in Elementwise.Cuda.cs.
struct Loops
{
    int64_t step_a[MaxLoops];
    int64_t step_b[MaxLoops];
    int size[MaxLoops];
    int count;
    int unused;
};

// Offsets of both operands at the loops' index-th round. Index: the narrower type that holds every index.
template <class Index> DEV void find_offsets(int64_t& a, int64_t& b, Index index, const Loops& loops)
{
    a = b = 0;
    for (int d = loops.count - 1; d >= 0; d--)
    {
        const Index size = static_cast<Index>(loops.size[d]), rest = index / size;
        const int64_t at = static_cast<int64_t>(index - rest * size);
        a += at * loops.step_a[d];
        b += at * loops.step_b[d];
        index = rest;
    }
}

DEV void find_offsets(int64_t& a, int64_t& b, int64_t index, int64_t count, const Loops& loops)
{
    if (count <= 0xffffffffll) find_offsets(a, b, static_cast<uint32_t>(index), loops); // 64-bit division is several times dearer
    else find_offsets(a, b, static_cast<uint64_t>(index), loops);
}

DEV float combine(float a, float b, int kind) { return kind == 0 ? a + b : kind == 1 ? a - b : a * b; }

// Operands of y's own shape. Any grid.
extern "C" __global__ void __launch_bounds__(Threads) combine_same(float* __restrict__ y,       // [count]
                                                                   const float* __restrict__ a, // [count]
                                                                   const float* __restrict__ b, // [count]
                                                                   int kind, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads()) y[i] = combine(a[i], b[i], kind);
}

// Any grid. The loops go over y.
extern "C" __global__ void __launch_bounds__(Threads) combine_repeated(float* __restrict__ y, // [count]
                                                                       const float* __restrict__ a, const float* __restrict__ b,
                                                                       const Loops loops, int kind, int64_t count)
{
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        int64_t at_a, at_b;
        find_offsets(at_a, at_b, i, count, loops);
        y[i] = combine(a[at_a], b[at_b], kind);
    }
}

// Sums whose terms lie next to each other: a warp per sum and stripe of its terms. Grid: (sums / 8, stripes).
// `kept` loops over the sums (a: the sum, b: its first term in x), `reduced` over one sum's terms (b: in x).
extern "C" __global__ void __launch_bounds__(Threads) sum_to_rows(double* __restrict__ partial, // [stripes, sums]
                                                                  const float* __restrict__ x, const Loops kept,
                                                                  const Loops reduced, int64_t sums, int64_t terms,
                                                                  int64_t terms_per_stripe)
{
    const int lane = threadIdx.x % 32;
    const int64_t k = static_cast<int64_t>(blockIdx.x) * (Threads / 32) + threadIdx.x / 32;
    if (k >= sums) return; // with its whole warp
    const int64_t start = blockIdx.y * terms_per_stripe, end = start + terms_per_stripe < terms ? start + terms_per_stripe : terms;
    int64_t unused, first, at;
    find_offsets(unused, first, k, sums, kept);
    double sum = 0;
    for (int64_t t = start + lane; t < end; t += 32)
    {
        find_offsets(unused, at, t, terms, reduced);
        sum += x[first + at];
    }
    sum = warp_sum(sum);
    if (lane == 0) partial[blockIdx.y * sums + k] = sum;
}

// Sums that lie next to each other: a block takes 32 of them, and 8 groups share their terms. Grid: (sums / 32, stripes).
extern "C" __global__ void __launch_bounds__(Threads) sum_to_columns(double* __restrict__ partial, // [stripes, sums]
                                                                     const float* __restrict__ x, const Loops kept,
                                                                     const Loops reduced, int64_t sums, int64_t terms,
                                                                     int64_t terms_per_stripe)
{
    SHARED(double, group_sums, [ColumnGroups][32]);
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32;
    const int64_t k = static_cast<int64_t>(blockIdx.x) * 32 + lane;
    const int64_t start = blockIdx.y * terms_per_stripe, end = start + terms_per_stripe < terms ? start + terms_per_stripe : terms;
    double sum = 0;
    if (k < sums)
    {
        int64_t unused, first, at;
        find_offsets(unused, first, k, sums, kept);
        for (int64_t t = start + group; t < end; t += ColumnGroups)
        {
            find_offsets(unused, at, t, terms, reduced);
            sum += x[first + at];
        }
    }
    group_sums[group][lane] = sum;
    __syncthreads(); // every group's sums are there
    if (group != 0 || k >= sums) return;
    for (int g = 1; g < ColumnGroups; g++) sum += group_sums[g][lane];
    partial[blockIdx.y * sums + k] = sum;
}

// sum = factor * Sum of the stripes, first to last. Any grid.
extern "C" __global__ void __launch_bounds__(Threads) sum_to_fold(float* __restrict__ sum,
                                                                  const double* __restrict__ partial, // [stripes, sums]
                                                                  const Loops kept, float factor, int64_t sums, int stripes)
{
    for (int64_t k = grid_thread(); k < sums; k += grid_threads())
    {
        double total = 0;
        for (int s = 0; s < stripes; s++) total += partial[s * sums + k];
        int64_t to, unused;
        find_offsets(to, unused, k, sums, kept);
        sum[to] = static_cast<float>(factor * total);
    }
}
