// One 64 x 64 tile of a matrix product of float32 numbers: what GEMM and the convolutions share. 256 threads hold 16
// elements each; both operands pass through shared memory, 16 of the depth at a time, and the next 16 are fetched to
// registers while these are multiplied. A Product says how, and holds the elements: Float32, or Tf32 on the tensor cores,
// its factors rounded on their way to shared memory.
//
// An operand says where its numbers come from:
//   DepthInnermost         whether neighbours along the depth are neighbours in memory; threads then follow the depth
//   auto at(int depth)     a place along the depth, decoded once for a thread's four lines
//   float load(int i, at)  the number there of the thread's i-th line, which is gemm_tile::line<DepthInnermost>(i)
// Lines past the end may be any that exist: their results are not stored.
#pragma once

DEV float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

// product[r][c] += a[r] * b[c]
DEV void outer4(float (&product)[4][4], float4 a, float4 b)
{
    const float rows[4] = {a.x, a.y, a.z, a.w}, columns[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) product[r][c] += rows[r] * columns[c];
}

namespace gemm_tile
{
constexpr int Side = 64;        // rows and columns of a tile
constexpr int Depth = 16;       // of the inner size per step
constexpr int Threads = 256;
constexpr int StageLines = 2 * Depth; // the caller's SHARED(float, stage, [StageLines][Product::Pitch])

// Threads are 16 x 16, each with 4 x 4 neighbouring elements.
struct Float32
{
    static constexpr int Pitch = Side + 4; // of a stage's lines: keeps them 16-byte aligned, spreads the banks
    float sums[4][4];

    DEV_MEMBER static float factor(float x) { return x; }

    DEV_MEMBER void clear()
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) sums[r][c] = 0.0f;
    }

    DEV_MEMBER void add(const float (*stage)[Pitch])
    {
#pragma unroll
        for (int k = 0; k < Depth; k++) outer4(sums, load4(&stage[k][threadIdx.x / 16 * 4]), load4(&stage[Depth + k][threadIdx.x % 16 * 4]));
    }

    // Calls visit(row, column, element) for each of this thread's, places being the tile's.
    template <class Visit> DEV_MEMBER void for_each(const Visit& visit) const
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) visit(threadIdx.x / 16 * 4 + r, threadIdx.x % 16 * 4 + c, sums[r][c]);
    }
};

// Eight warps, two down and four across, hold 32 x 16 elements each in accumulators of mma.sync m16n8k8.
struct Tf32
{
    static constexpr int Pitch = Side + 8; // the 32 numbers of a fragment lie in different banks
    float sums[2][2][4];

    DEV_MEMBER static float factor(float x) { return __uint_as_float(to_tf32(x)); }
    DEV_MEMBER static int row() { return threadIdx.x / 128 * 32; }
    DEV_MEMBER static int column() { return threadIdx.x / 32 % 4 * 16; }

    DEV_MEMBER void clear()
    {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] = 0.0f;
    }

    DEV_MEMBER void add(const float (*stage)[Pitch])
    {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int k = 0; k < Depth; k += 8)
        {
            uint32_t a[2][4], b[1][4];
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                // ldmatrix could not transpose 32-bit numbers: each lane takes its own
#pragma unroll
                for (int m = 0; m < 2; m++) a[m][e] = __float_as_uint(stage[k + lane % 4 + e / 2 * 4][row() + 16 * m + lane / 4 + e % 2 * 8]);
                b[0][e] = __float_as_uint(stage[Depth + k + lane % 4 + e % 2 * 4][column() + lane / 4 + e / 2 * 8]);
            }
            mma_tf32(sums, a, b);
        }
    }

    template <class Visit> DEV_MEMBER void for_each(const Visit& visit) const
    {
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) visit(row() + 16 * m + fragment::row(e), column() + 8 * n + fragment::column(e), sums[m][n][e]);
    }
};

// The i-th of the four lines whose numbers this thread fetches, and its place within each step of the depth.
template <bool DepthInnermost> DEV int line(int i) { return (DepthInnermost ? threadIdx.x / 16 : threadIdx.x % 16) + 16 * i; }
template <bool DepthInnermost> DEV int step() { return DepthInnermost ? threadIdx.x % 16 : threadIdx.x / 16; }

// This thread's four numbers of the step that begins at depth0; zero from depth `end` on.
template <class Operand> DEV void fetch(float (&values)[4], const Operand& operand, int depth0, int end)
{
    const int depth = depth0 + step<Operand::DepthInnermost>();
    if (depth0 + Depth <= end || depth < end)
    {
        const auto at = operand.at(depth);
#pragma unroll
        for (int i = 0; i < 4; i++) values[i] = operand.load(i, at);
    }
    else
    {
#pragma unroll
        for (int i = 0; i < 4; i++) values[i] = 0.0f;
    }
}

template <class Product, class Operand> DEV void put(float (*stage)[Product::Pitch], const float (&values)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) stage[step<Operand::DepthInnermost>()][line<Operand::DepthInnermost>(i)] = Product::factor(values[i]);
}

// product = sum of a[row, depth] * b[column, depth] over depth in [begin, end). Every thread of the block takes part.
template <class Product, class A, class B>
DEV void multiply(Product& product, float (*stage)[Product::Pitch], int begin, int end, const A& a, const B& b)
{
    product.clear();
    float next_a[4], next_b[4];
    fetch(next_a, a, begin, end);
    fetch(next_b, b, begin, end);
    for (int depth = begin; depth < end; depth += Depth)
    {
        __syncthreads(); // the stage's last readers are done with it
        put<Product, A>(stage, next_a);
        put<Product, B>(stage + Depth, next_b);
        __syncthreads(); // both operands are there
        if (end - depth > Depth)
        {
            fetch(next_a, a, depth + Depth, end);
            fetch(next_b, b, depth + Depth, end);
        }
        product.add(stage);
    }
}
}
