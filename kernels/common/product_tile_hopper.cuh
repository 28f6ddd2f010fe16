// The tile of product_tile.cuh in bfloat16 on compute capability 9.0, by wgmma: kernel files for sm_90a alone include it.
//
//   number     edge   depth x stages   shared memory   accumulators   how
//   Hopper     128    64 x 3           97 KB           64             wgmma m64n128k16, two warpgroups of 64 x 128
//
// A stage holds an operand's 64 depths as wgmma reads them, its 16-byte pieces exchanged (swizzled, wgmma.cuh): DepthInner as
// 128 lines of 128 bytes, DepthOuter as two halves of 64 lines, each with 64 depths of 128 bytes. They begin at a multiple of
// 1024 bytes, for which the block's dynamic shared memory has room to spare. Operands are padded to multiples of 64.
//
// A thread holds two rows and 32 columns: of each row it is one of 4, of each column one of 64, which meet_columns makes 8.
#pragma once

#include "common/wgmma.cuh"

namespace product
{
struct Hopper
{
    using Type = bf16;
    static constexpr int Edge = 128, Depth = 64, Stages = 3;
};

DEV void round_to(bf16& to, float x, Hopper) { to = to_bf16(x); }

constexpr int HopperOperandBytes = 128 * 128, HopperPattern = 1024, HopperHalf = 64 * 128;
template <> constexpr int SharedBytes<Hopper> = 2 * Hopper::Stages * HopperOperandBytes + HopperPattern;

// Where the stages begin; what else a kernel keeps in shared memory may lie there too.
DEV unsigned char* hopper_stages(unsigned char* shared)
{
    return shared + (HopperPattern - shared_address(shared) % HopperPattern) % HopperPattern;
}

// Starts the copies of an operand's numbers from `depth` on.
template <bool INNER> DEV void start_copy_hopper(unsigned char* stage, const Operand<bf16>& operand, int depth)
{
#pragma unroll
    for (int i = 0; i < HopperOperandBytes / 16 / Threads; i++)
    {
        const int chunk = threadIdx.x + i * Threads, row = chunk / (INNER ? 8 : 16), column = chunk % (INNER ? 8 : 16) * 8;
        const int line = operand.first + (INNER ? row : column), at = depth + (INNER ? column : row);
        const bool present = line < operand.lines && (INNER || at < operand.depths);
        const int64_t from = INNER ? line * operand.pitch + at : at * operand.pitch + line;
        const int place = INNER ? swizzled(row * 128 + column * 2) : column / 64 * HopperHalf + swizzled(row * 128 + column % 64 * 2);
        cp_async16(stage + place, operand.data + (present ? from : 0), present);
    }
}

// 16 of a stage's depths, for the lines from `line` on, a multiple of 64.
template <bool INNER> DEV auto hopper_matrix(const unsigned char* stage, int line, int k)
{
    if constexpr (INNER) return wgmma::further(k_major(stage + line * 128, HopperPattern), 2 * k);
    else return wgmma::further(mn_major(stage + line / 64 * HopperHalf, HopperHalf, HopperPattern), 128 * k);
}

template <> struct Tile<Hopper>
{
    static constexpr int Rows = 2, Columns = 32, RowMembers = 4, ColumnMembers = 8;
    static constexpr bool Joins = true;
    float sums[16][4]; // [8 columns][fragment]

    DEV_MEMBER float& value(int r, int c) { return sums[c / 2][r * 2 + c % 2]; }
    template <bool INNER = true> DEV_MEMBER static int row(int r) { return threadIdx.x / 32 * 16 + fragment::row(r * 2); }
    template <bool INNER = true> DEV_MEMBER static int column(int c) { return c / 2 * 8 + fragment::column(c % 2); }
    DEV_MEMBER static int row_member() { return threadIdx.x % 4; }

    DEV_MEMBER void clear()
    {
#pragma unroll
        for (int n = 0; n < 16; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) sums[n][e] = 0.0f;
    }

    // Lanes 4, 8 and 16 apart hold the same columns. A step leaves a lane half of those it had, with both lanes' parts.
    template <int LEFT, class T, class Merge> DEV_MEMBER static void halve(T (&parts)[Columns], Merge merge)
    {
        const bool upper = threadIdx.x & LEFT;
#pragma unroll
        for (int c = 0; c < LEFT; c++)
        {
            const T mine = upper ? parts[LEFT + c] : parts[c], other = upper ? parts[c] : parts[LEFT + c];
            parts[c] = merge(mine, across(other, LEFT));
        }
    }

    // take(column, member, part) of each column's part of this warp, by one of its lanes.
    template <class Part, class Merge, class Take> DEV_MEMBER static void meet_columns(Part part, Merge merge, Take take)
    {
        decltype(part(0)) parts[Columns];
#pragma unroll
        for (int c = 0; c < Columns; c++) parts[c] = part(c);
        halve<16>(parts, merge);
        halve<8>(parts, merge);
        halve<4>(parts, merge);
        const int first = threadIdx.x % 32 / 4 * 4;
#pragma unroll
        for (int c = 0; c < 4; c++) take(column(first + c), static_cast<int>(threadIdx.x / 32), parts[c]);
    }
};

// tile += a b over the depths [begin, end). Every thread of the block takes part. While one stage is multiplied, the next is
// copied; the product before is waited for only then. Begins and ends with the stages free.
template <bool INNER_A, bool INNER_B>
DEV void multiply_hopper(Tile<Hopper>& tile, unsigned char* shared, const Operand<bf16>& a, const Operand<bf16>& b, int begin, int end)
{
    constexpr int Ahead = Hopper::Stages - 2;
    unsigned char* const stages = hopper_stages(shared);
    const int steps = (end - begin) / Hopper::Depth, first_row = threadIdx.x / 128 * 64;
    auto side = [&](int step, int operand) { return stages + (step % Hopper::Stages * 2 + operand) * HopperOperandBytes; };
    auto start = [&](int step)
    {
        if (step < steps)
        {
            start_copy_hopper<INNER_A>(side(step, 0), a, begin + step * Hopper::Depth);
            start_copy_hopper<INNER_B>(side(step, 1), b, begin + step * Hopper::Depth);
        }
        cp_async_commit(); // empty at the end, so that the groups can be counted
    };
#pragma unroll
    for (int step = 0; step < Ahead; step++) start(step);
    wgmma_fence(tile.sums);
    for (int step = 0; step < steps; step++)
    {
        cp_async_wait<Ahead - 1>(); // this step's copies, of this thread
        fence_proxy_async();
        __syncthreads(); // of all threads; and all have waited for the product that read the stage that is filled next
#pragma unroll
        for (int k = 0; k < Hopper::Depth; k += 16)
            wgmma_bf16(tile.sums, hopper_matrix<INNER_A>(side(step, 0), first_row, k), hopper_matrix<INNER_B>(side(step, 1), 0, k));
        wgmma_commit();
        start(step + Ahead);
        wgmma_wait<1>(); // the product before this one
    }
    wgmma_wait_all(tile.sums);
    cp_async_wait<0>();
    __syncthreads(); // the last stages' readers are done with them
}

template <> DEV_MEMBER void multiply<Hopper, true, true>(Tile<Hopper>& tile, unsigned char* shared, const Operand<bf16>& a, const Operand<bf16>& b, int begin, int end)
{
    multiply_hopper<true, true>(tile, shared, a, b, begin, end);
}

template <> DEV_MEMBER void multiply<Hopper, true, false>(Tile<Hopper>& tile, unsigned char* shared, const Operand<bf16>& a, const Operand<bf16>& b, int begin, int end)
{
    multiply_hopper<true, false>(tile, shared, a, b, begin, end);
}

template <> DEV_MEMBER void multiply<Hopper, false, false>(Tile<Hopper>& tile, unsigned char* shared, const Operand<bf16>& a, const Operand<bf16>& b, int begin, int end)
{
    multiply_hopper<false, false>(tile, shared, a, b, begin, end);
}
}
