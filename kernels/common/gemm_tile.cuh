// One 64 x 64 tile of a matrix product in float32: what GEMM and the convolutions share. 256 threads hold 4 x 4 elements
// each; both operands pass through shared memory, 16 of the depth at a time, and the next 16 are fetched to registers
// while these are multiplied.
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
constexpr int Pitch = Side + 4; // of a stage's lines: keeps them 16-byte aligned, spreads the banks
constexpr int Threads = 256;    // 16 x 16, each with 4 x 4 elements
constexpr int StageLines = 2 * Depth; // the caller's SHARED(float, stage, [StageLines][Pitch])

// Where this thread's 4 x 4 elements begin in the tile.
DEV int row() { return threadIdx.x / 16 * 4; }
DEV int column() { return threadIdx.x % 16 * 4; }

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

template <class Operand> DEV void put(float (*stage)[Pitch], const float (&values)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) stage[step<Operand::DepthInnermost>()][line<Operand::DepthInnermost>(i)] = values[i];
}

// product[r][c] = sum of a[row() + r, depth] * b[column() + c, depth] over depth in [begin, end). Every thread of the
// block takes part.
template <class A, class B>
DEV void multiply(float (&product)[4][4], float (*stage)[Pitch], int begin, int end, const A& a, const B& b)
{
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) product[r][c] = 0.0f;
    float next_a[4], next_b[4];
    fetch(next_a, a, begin, end);
    fetch(next_b, b, begin, end);
    for (int depth = begin; depth < end; depth += Depth)
    {
        __syncthreads(); // the stage's last readers are done with it
        put<A>(stage, next_a);
        put<B>(stage + Depth, next_b);
        __syncthreads(); // both operands are there
        if (end - depth > Depth)
        {
            fetch(next_a, a, depth + Depth, end);
            fetch(next_b, b, depth + Depth, end);
        }
#pragma unroll
        for (int k = 0; k < Depth; k++) outer4(product, load4(&stage[k][row()]), load4(&stage[Depth + k][column()]));
    }
}
}
