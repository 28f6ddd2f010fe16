// A tile of a matrix product on the tensor cores, bfloat16 factors and float32 sums: what GEMM and the convolutions share.
// 4 warps, two by two, hold 16 M x 8 N accumulators each; the tile is 32 M rows by 16 N columns. Both operands stream
// through shared memory, 32 of the depth at a time, in three stages: two are on their way (cp.async) while one is
// multiplied.
//
// An operand says where its numbers come from, in chunks of 8 neighbours in memory:
//   DepthInnermost           whether those run along the depth (8 of one line's) or along the lines (8 lines' at one depth)
//   Whole                    whether every chunk of 8 is either all there, at a 16-byte aligned address, or all outside;
//                            else its numbers are looked at one by one
//   DepthInnermost:
//     auto at(int depth)                     a place along the depth, decoded once for all lines of a thread
//     const bf16* chunk(int i, at)           the chunk of the thread's i-th line, null where all 8 are zero
//     bf16 element(int i, int depth)         one number of that line
//   else:
//     const bf16* chunk(int depth)           the chunk of the thread's 8 lines, null where all are zero
//     bf16 element(int e, int depth)         one number of its e-th line
// The thread's lines begin at bf16_tile::line<LINES, DepthInnermost>(i). Lines past the end may be any that exist, or
// zero: their results are not stored. `chunk` and `element` are asked for depths below the end only.
#pragma once

namespace bf16_tile
{
constexpr int Threads = 128;
constexpr int Depth = 32; // per step
constexpr int Stages = 3;

// Chunks side by side in a stage's row: lines x depth, or depth x lines.
template <int LINES, bool DepthInnermost> constexpr int row_chunks = DepthInnermost ? Depth / 8 : LINES / 8;

// How many chunks a thread copies per step, all in one column of chunks.
template <int LINES> constexpr int copies = LINES * Depth / 8 / Threads;

template <int LINES, bool DepthInnermost> DEV int line(int i)
{
    constexpr int Across = row_chunks<LINES, DepthInnermost>;
    return DepthInnermost ? threadIdx.x / Across + Threads / Across * i : threadIdx.x % Across * 8;
}

// Where a chunk lies in a stage. Chunks of neighbouring rows are exchanged so that the eight rows that ldmatrix reads
// at a time lie in different banks.
template <int LINES, bool DepthInnermost> DEV int place(int row, int chunk)
{
    const int exchanged = DepthInnermost ? chunk ^ (row / 2 % 4) : chunk ^ (row % 8);
    return (row * row_chunks<LINES, DepthInnermost> + exchanged) * 8;
}

// Starts the copy of one step of an operand to its stage. TAIL: the step may reach past `end`, where zeros are put.
template <int LINES, bool TAIL, class Operand> DEV void copy(bf16* stage, const Operand& operand, int depth0, int end, const bf16* any)
{
    constexpr bool Inner = Operand::DepthInnermost;
    constexpr int Across = row_chunks<LINES, Inner>, Apart = Threads / Across;
    const int column = threadIdx.x % Across, row0 = threadIdx.x / Across;
    if constexpr (Operand::Whole)
    {
        if constexpr (Inner)
        {
            const int depth = depth0 + 8 * column;
            const bool inside = !TAIL || depth < end;
            const auto at = operand.at(inside ? depth : depth0);
#pragma unroll
            for (int i = 0; i < copies<LINES>; i++)
            {
                const bf16* from = inside ? operand.chunk(i, at) : nullptr;
                bf16* to = stage + place<LINES, Inner>(row0 + Apart * i, column);
                cp_async16(to, from != nullptr ? from : any, from != nullptr);
            }
        }
        else
        {
#pragma unroll
            for (int i = 0; i < copies<LINES>; i++)
            {
                const int depth = depth0 + row0 + Apart * i;
                const bf16* from = !TAIL || depth < end ? operand.chunk(depth) : nullptr;
                bf16* to = stage + place<LINES, Inner>(row0 + Apart * i, column);
                cp_async16(to, from != nullptr ? from : any, from != nullptr);
            }
        }
    }
    else
    {
#pragma unroll
        for (int i = 0; i < copies<LINES>; i++)
        {
            uint32_t pairs[4];
#pragma unroll
            for (int e = 0; e < 8; e += 2)
            {
                uint32_t pair = 0;
#pragma unroll
                for (int half = 0; half < 2; half++)
                {
                    const int depth = depth0 + (Inner ? 8 * column + e + half : row0 + Apart * i);
                    if (!TAIL || depth < end)
                        pair |= static_cast<uint32_t>(operand.element(Inner ? i : e + half, depth).bits) << 16 * half;
                }
                pairs[e / 2] = pair;
            }
            auto* to = reinterpret_cast<uint32_t*>(stage + place<LINES, Inner>(row0 + Apart * i, column));
#pragma unroll
            for (int p = 0; p < 4; p++) to[p] = pairs[p];
        }
    }
}

// An operand: lines of a matrix along the depth: line i, depth k at [i, k], or at [k, i].
template <int LINES, bool DepthInnermost_, bool Whole_> struct MatrixLines
{
    static constexpr bool DepthInnermost = DepthInnermost_, Whole = Whole_;
    static constexpr int Mine = DepthInnermost ? copies<LINES> : 1;
    const bf16* from[Mine]; // this thread's lines, or the first of its eight
    int lines, line0;

    __device__ MatrixLines(const bf16* matrix, int first, int lines_, int depth) : lines(lines_), line0(first + line<LINES, DepthInnermost>(0))
    {
#pragma unroll
        for (int i = 0; i < Mine; i++)
        {
            const int64_t mine = min(first + line<LINES, DepthInnermost>(i), lines - 1);
            from[i] = matrix + (DepthInnermost ? mine * depth : line0);
        }
    }
    __device__ int at(int depth) const { return depth; }
    __device__ const bf16* chunk(int i, int depth) const { return from[i] + depth; }
    __device__ const bf16* chunk(int depth) const { return line0 < lines ? from[0] + static_cast<int64_t>(depth) * lines : nullptr; }
    __device__ bf16 element(int i, int depth) const
    {
        if (DepthInnermost) return from[DepthInnermost ? i : 0][depth];
        return line0 + i < lines ? from[0][static_cast<int64_t>(depth) * lines + i] : bf16{0};
    }
};

// The addresses this lane gives to ldmatrix for COUNT tiles of 16 lines from line0 on, over 16 of the depth from k on.
template <int LINES, bool DepthInnermost, bool OfA, int COUNT>
DEV void fragments(uint32_t (&registers)[COUNT][4], const bf16* stage, int line0, int k)
{
    // A lies [row][depth] as B lies [depth][column]: both with depth or column innermost take a_row, the others b_row.
    constexpr bool Straight = OfA == DepthInnermost;
    const int row = Straight ? fragment::a_row() : fragment::b_row(), column = Straight ? fragment::a_column() : fragment::b_column();
    const bf16* rows[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        rows[i] = stage + (DepthInnermost ? place<LINES, DepthInnermost>(line0 + 16 * i + row, (k + column) / 8)
                                          : place<LINES, DepthInnermost>(k + row, (line0 + 16 * i + column) / 8));
    if constexpr (DepthInnermost) ldmatrix_x4(registers, rows);
    else ldmatrix_x4_trans(registers, rows);
}

template <int M, int N> struct Tile
{
    static constexpr int Rows = 32 * M, Columns = 16 * N;
    static constexpr int StageElements = (Rows + Columns) * Depth;
    static constexpr int SharedElements = Stages * StageElements; // the caller's SHARED(bf16, stages, [SharedElements])

    // Where this warp's accumulators begin in the tile.
    static __device__ int row() { return threadIdx.x / 64 * 16 * M; }
    static __device__ int column() { return threadIdx.x / 32 % 2 * 8 * N; }

    // sums = sum of a[row, depth] * b[column, depth] over depth in [begin, end). Every thread of the block takes part.
    // `any`: an address that may be given for chunks that are not read.
    template <class A, class B>
    static __device__ void multiply(float (&sums)[M][N][4], bf16* stages, int begin, int end, const A& a, const B& b, const bf16* any)
    {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] = 0.0f;

        const int steps = (end - begin + Depth - 1) / Depth;
        for (int step = 0; step < Stages - 1; step++) fetch(stages, step, steps, begin, end, a, b, any);
        for (int step = 0; step < steps; step++)
        {
            cp_async_wait<Stages - 2>();
            __syncthreads(); // this step's numbers of every thread are there, and the stage before is read by none any more
            fetch(stages, step + Stages - 1, steps, begin, end, a, b, any);
            const bf16* stage = stages + step % Stages * StageElements;
#pragma unroll
            for (int k = 0; k < Depth; k += 16)
            {
                uint32_t of_a[M][4], of_b[N / 2][4];
                fragments<Rows, A::DepthInnermost, true>(of_a, stage, row(), k);
                fragments<Columns, B::DepthInnermost, false>(of_b, stage + Rows * Depth, column(), k);
                mma_bf16(sums, of_a, of_b);
            }
        }
        cp_async_wait<0>(); // empty groups only
    }

private:
    // Starts the copies of a step, when there is one, and closes their group.
    template <class A, class B>
    static __device__ void fetch(bf16* stages, int step, int steps, int begin, int end, const A& a, const B& b, const bf16* any)
    {
        if (step < steps)
        {
            bf16* stage = stages + step % Stages * StageElements;
            const int depth = begin + step * Depth;
            if (depth + Depth <= end)
            {
                copy<Rows, false>(stage, a, depth, end, any);
                copy<Columns, false>(stage + Rows * Depth, b, depth, end, any);
            }
            else
            {
                copy<Rows, true>(stage, a, depth, end, any);
                copy<Columns, true>(stage + Rows * Depth, b, depth, end, any);
            }
        }
        cp_async_commit();
    }
};

// Writes two neighbours of a row, the second only when `both`, as float32 or bfloat16.
DEV void store_pair(void* to, int64_t i, float first, float second, bool both, bool as_bf16)
{
    if (as_bf16)
    {
        if (both && i % 2 == 0) static_cast<uint32_t*>(to)[i / 2] = pack_bf16(first, second);
        else
        {
            static_cast<bf16*>(to)[i] = to_bf16(first);
            if (both) static_cast<bf16*>(to)[i + 1] = to_bf16(second);
        }
    }
    else
    {
        static_cast<float*>(to)[i] = first;
        if (both) static_cast<float*>(to)[i + 1] = second;
    }
}

// Calls visit(row, column, first, second) for this warp's accumulators, a pair of neighbours at a time; places are the
// tile's.
template <int M, int N, class Visit> DEV void for_pairs(const float (&sums)[M][N][4], const Visit& visit)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e += 2)
                visit(Tile<M, N>::row() + 16 * m + fragment::row(e), Tile<M, N>::column() + 8 * n + fragment::column(e), sums[m][n][e], sums[m][n][e + 1]);
}
}
