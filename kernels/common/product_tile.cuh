// A square tile of a matrix product in float32, TF32 or bfloat16, for kernels that do something else with it than to
// store it. Part of the prelude; written for the contrastive losses.
//
//   tile(r, c) = sum over depth of a[line r, depth] * b[line c, depth]
//
// A block of 256 threads computes Edge x Edge numbers, a thread Rows x Columns of them, Edge/16 each: value(r, c) lies in row
// `row(r)` and column `column(c)` of the tile. Each row is spread over RowMembers threads, 16, of which this one is number
// row_member(); parts of columns are taken together by meet_columns, which leaves ColumnMembers, 16 as well.
// product_tile_hopper.cuh has one more tile, for sm_90a.
//
//   number    edge     depth x stages   shared memory   accumulators   how
//   Float32   64       32 x 2           36 KB           16 + 16        FMA; sums of 32 products, then a sum of those
//   Tf32      128, 64  16 x 4           80 KB, 40 KB    64, 16         mma.sync m16n8k8, warps of Edge/2 x Edge/4
//   BFloat16  128, 64  32 x 4           80 KB, 40 KB    64, 16         mma.sync m16n8k16, the same
//
// An operand lies DepthInner, a line's numbers side by side (a row of embeddings as a line), or DepthOuter, the lines'
// numbers of one depth side by side (a row of embeddings as one step of the depth). Operands are padded so that the loop
// over depth has no tail: begin and end are multiples of 32, addresses and pitches of 16 bytes; lines or depths that are
// not there read as zeros.
#pragma once

namespace product
{
constexpr int Threads = 256;

// Rows of operands are padded to a multiple of it.
template <class Number> constexpr int PadOf = Number::Depth > 32 ? Number::Depth : 32;

struct Float32
{
    using Type = float;
    static constexpr int Edge = 64, Depth = 32, Stages = 2;
};

template <int EDGE> struct Tf32
{
    using Type = float; // rounded to TF32 when written, so that no loop has to
    static constexpr int Edge = EDGE, Depth = 16, Stages = 4;
};

template <int EDGE> struct BFloat16
{
    using Type = bf16;
    static constexpr int Edge = EDGE, Depth = 32, Stages = 4;
};

// A number as the type that products are formed of.
DEV void round_to(float& to, float x, Float32) { to = x; }
template <int EDGE> DEV void round_to(float& to, float x, Tf32<EDGE>) { to = __uint_as_float(to_tf32(x) & 0xffffe000u); }
template <int EDGE> DEV void round_to(bf16& to, float x, BFloat16<EDGE>) { to = to_bf16(x); }

DEV float to_float(float x) { return x; }
DEV float to_float(bf16 x) { return ::to_float(x); }

// One side of a product.
template <class T> struct Operand
{
    const T* data;
    int64_t pitch; // elements from one row of memory to the next
    int first;     // the tile's first line
    int lines;     // DepthInner: rows of memory from `lines` on are zero; DepthOuter: numbers of a row
    int depths;    // DepthOuter: rows of memory from `depths` on are zero
};

// How a stage of one operand lies in shared memory. The padding makes each 8 x 16 bytes that are read together, or the
// 32 numbers of a TF32 fragment, meet every bank once.
template <class Number, bool INNER> struct Stage
{
    using T = typename Number::Type;
    static constexpr int Rows = INNER ? Number::Edge : Number::Depth;
    static constexpr int Columns = INNER ? Number::Depth : Number::Edge;
    static constexpr int Pitch = Columns + (INNER || sizeof(T) == 2 ? 16 : 32) / static_cast<int>(sizeof(T));
    static constexpr int ChunksPerRow = Columns * static_cast<int>(sizeof(T)) / 16, Chunks = Rows * ChunksPerRow;
    static constexpr int Bytes = Rows * Pitch * static_cast<int>(sizeof(T));
};

template <class Number>
constexpr int OperandBytes = Stage<Number, true>::Bytes > Stage<Number, false>::Bytes ? Stage<Number, true>::Bytes : Stage<Number, false>::Bytes;

// Dynamic shared memory of a block: Ops/ContrastPlan.Cuda.cs gives it at the launch.
template <class Number> constexpr int SharedBytes = 2 * Number::Stages * OperandBytes<Number>;

// Starts the copies of an operand's numbers from `depth` on.
template <class Number, bool INNER, class T> DEV void start_copy(T* stage, const Operand<T>& operand, int depth)
{
    using S = Stage<Number, INNER>;
    static_assert(S::Chunks % Threads == 0, "each thread copies the same number of chunks");
#pragma unroll
    for (int i = 0; i < S::Chunks / Threads; i++)
    {
        const int chunk = threadIdx.x + i * Threads, row = chunk / S::ChunksPerRow;
        const int column = chunk % S::ChunksPerRow * (16 / static_cast<int>(sizeof(T)));
        const int line = operand.first + (INNER ? row : column), at = depth + (INNER ? column : row);
        const bool present = line < operand.lines && (INNER || at < operand.depths);
        const int64_t from = INNER ? line * operand.pitch + at : at * operand.pitch + line;
        cp_async16(stage + row * S::Pitch + column, operand.data + (present ? from : 0), present);
    }
}

// The numbers of a tile that a thread holds, and what it adds to them per stage.
template <class Number> struct Tile;

template <> struct Tile<Float32>
{
    static constexpr int Rows = 4, Columns = 4, RowMembers = 16, ColumnMembers = 16;
    static constexpr bool Joins = false;
    float sums[4][4];

    DEV_MEMBER float& value(int r, int c) { return sums[r][c]; }
    // Lines of a DepthInner operand are 16 apart, so that the float4 along depth of neighbouring threads meet all banks;
    // of a DepthOuter one they are a float4.
    template <bool INNER> DEV_MEMBER static int line(int thread, int i) { return INNER ? thread + 16 * i : 4 * thread + i; }
    template <bool INNER = true> DEV_MEMBER static int row(int r) { return line<INNER>(threadIdx.x / 16, r); }
    template <bool INNER = true> DEV_MEMBER static int column(int c) { return line<INNER>(threadIdx.x % 16, c); }
    DEV_MEMBER static int row_member() { return threadIdx.x % 16; }

    // take(column, member, part) of each column's part of this thread.
    template <class Part, class Merge, class Take> DEV_MEMBER static void meet_columns(Part part, Merge, Take take)
    {
#pragma unroll
        for (int c = 0; c < Columns; c++) take(column(c), static_cast<int>(threadIdx.x / 16), part(c));
    }

    DEV_MEMBER void clear()
    {
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) sums[r][c] = 0.0f;
    }

    // Four lines at four depths.
    template <bool INNER> DEV_MEMBER static void fetch(float (&values)[4][4], const float* stage, int thread, int k)
    {
        constexpr int Pitch = Stage<Float32, INNER>::Pitch;
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            const float4 four = load4(INNER ? stage + line<true>(thread, i) * Pitch + k : stage + (k + i) * Pitch + 4 * thread);
            const float numbers[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int j = 0; j < 4; j++) (INNER ? values[i][j] : values[j][i]) = numbers[j];
        }
    }

    // Each stage is summed by itself first: the rounding of a long dot product then grows with the root of
    // depth / 32 + 32 terms, not of depth, and at small temperatures the exponential magnifies it.
    template <bool INNER_A, bool INNER_B> DEV_MEMBER void add(const float* stage_a, const float* stage_b)
    {
        float step[4][4] = {};
#pragma unroll 2
        for (int k = 0; k < Float32::Depth; k += 4)
        {
            float a[4][4], b[4][4];
            fetch<INNER_A>(a, stage_a, threadIdx.x / 16, k);
            fetch<INNER_B>(b, stage_b, threadIdx.x % 16, k);
#pragma unroll
            for (int d = 0; d < 4; d++)
#pragma unroll
                for (int r = 0; r < 4; r++)
#pragma unroll
                    for (int c = 0; c < 4; c++) step[r][c] += a[r][d] * b[c][d];
        }
#pragma unroll
        for (int r = 0; r < 4; r++)
#pragma unroll
            for (int c = 0; c < 4; c++) sums[r][c] += step[r][c];
    }
};

// Eight warps, two down and four across, each with Edge/2 x Edge/4 of the tile in accumulators of mma.
template <int EDGE> struct MmaTile
{
    static constexpr int Rows = EDGE / 16, Columns = EDGE / 16, RowMembers = 16, ColumnMembers = 16, Blocks = EDGE / 32, HalfBlocks = EDGE / 64;
    static constexpr bool Joins = false;
    float sums[Blocks][Blocks][4]; // [16 rows][8 columns][fragment]

    DEV_MEMBER float& value(int r, int c) { return sums[r / 2][c / 2][r % 2 * 2 + c % 2]; }
    DEV_MEMBER static int first_row() { return threadIdx.x / 128 * (EDGE / 2); }
    DEV_MEMBER static int first_column() { return threadIdx.x / 32 % 4 * (EDGE / 4); }
    template <bool INNER = true> DEV_MEMBER static int row(int r) { return first_row() + r / 2 * 16 + fragment::row(r % 2 * 2); }
    template <bool INNER = true> DEV_MEMBER static int column(int c) { return first_column() + c / 2 * 8 + fragment::column(c % 2); }
    DEV_MEMBER static int row_member() { return threadIdx.x / 32 % 4 * 4 + threadIdx.x % 4; }

    template <class Part, class Merge, class Take> DEV_MEMBER static void meet_columns(Part part, Merge, Take take)
    {
#pragma unroll
        for (int c = 0; c < Columns; c++) take(column(c), static_cast<int>(threadIdx.x / 128 * 8 + threadIdx.x % 32 / 4), part(c));
    }

    DEV_MEMBER void clear()
    {
#pragma unroll
        for (int m = 0; m < Blocks; m++)
#pragma unroll
            for (int n = 0; n < Blocks; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[m][n][e] = 0.0f;
    }
};

template <int EDGE> struct Tile<BFloat16<EDGE>> : MmaTile<EDGE>
{
    using Base = MmaTile<EDGE>;

    template <bool INNER_A, bool INNER_B> DEV_MEMBER void add(const bf16* stage_a, const bf16* stage_b)
    {
        constexpr int PitchA = Stage<BFloat16<EDGE>, INNER_A>::Pitch, PitchB = Stage<BFloat16<EDGE>, INNER_B>::Pitch;
#pragma unroll
        for (int k = 0; k < BFloat16<EDGE>::Depth; k += 16)
        {
            uint32_t a[Base::Blocks][4], b[Base::HalfBlocks][4];
            const bf16* rows_a[Base::Blocks];
            const bf16* rows_b[Base::HalfBlocks];
#pragma unroll
            for (int m = 0; m < Base::Blocks; m++)
            {
                const int line = Base::first_row() + 16 * m;
                rows_a[m] = INNER_A ? stage_a + (line + fragment::a_row()) * PitchA + k + fragment::a_column()
                                    : stage_a + (k + fragment::b_row()) * PitchA + line + fragment::b_column();
            }
#pragma unroll
            for (int n = 0; n < Base::HalfBlocks; n++)
            {
                const int line = Base::first_column() + 16 * n;
                rows_b[n] = INNER_B ? stage_b + (line + fragment::b_row()) * PitchB + k + fragment::b_column()
                                    : stage_b + (k + fragment::a_row()) * PitchB + line + fragment::a_column();
            }
            if (INNER_A) ldmatrix_x4(a, rows_a);
            else ldmatrix_x4_trans(a, rows_a);
            if (INNER_B) ldmatrix_x4(b, rows_b);
            else ldmatrix_x4_trans(b, rows_b);
            mma_bf16(Base::sums, a, b);
        }
    }
};

template <int EDGE> struct Tile<Tf32<EDGE>> : MmaTile<EDGE>
{
    using Base = MmaTile<EDGE>;

    template <bool INNER_A, bool INNER_B> DEV_MEMBER void add(const float* stage_a, const float* stage_b)
    {
        constexpr int PitchA = Stage<Tf32<EDGE>, INNER_A>::Pitch, PitchB = Stage<Tf32<EDGE>, INNER_B>::Pitch;
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int k = 0; k < Tf32<EDGE>::Depth; k += 8)
        {
            uint32_t a[Base::Blocks][4], b[Base::HalfBlocks][4];
            if (INNER_A)
            {
                const float* rows[Base::Blocks];
#pragma unroll
                for (int m = 0; m < Base::Blocks; m++)
                    rows[m] = stage_a + (Base::first_row() + 16 * m + fragment::a_row()) * PitchA + k + fragment::a_column() / 2;
                ldmatrix_x4(a, rows);
            }
            else // 32-bit numbers cannot be transposed by ldmatrix: each lane takes its own
            {
#pragma unroll
                for (int m = 0; m < Base::Blocks; m++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        a[m][e] = __float_as_uint(stage_a[(k + lane % 4 + e / 2 * 4) * PitchA + Base::first_row() + 16 * m + lane / 4 + e % 2 * 8]);
            }
            if (INNER_B)
            {
                const float* rows[Base::HalfBlocks];
#pragma unroll
                for (int n = 0; n < Base::HalfBlocks; n++)
                    rows[n] = stage_b + (Base::first_column() + 16 * n + fragment::b_row()) * PitchB + k + fragment::b_column() / 2;
                ldmatrix_x4(b, rows);
            }
            else
            {
#pragma unroll
                for (int n = 0; n < Base::HalfBlocks; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        b[n][e] = __float_as_uint(stage_b[(k + lane % 4 + e % 2 * 4) * PitchB + Base::first_column() + 16 * n + lane / 4 + e / 2 * 8]);
            }
            mma_tf32(Base::sums, a, b);
        }
    }
};

// A part of a line as the lane so many further has it.
DEV float across(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }

// tile += a b over the depths [begin, end). Every thread of the block takes part. While one stage is multiplied, the
// copies of the next Stages - 1 are under way. Begins and ends with the stages free.
template <class Number, bool INNER_A, bool INNER_B>
DEV void multiply(Tile<Number>& tile, unsigned char* shared, const Operand<typename Number::Type>& a,
                  const Operand<typename Number::Type>& b, int begin, int end)
{
    using T = typename Number::Type;
    constexpr int Ahead = Number::Stages - 1, Bytes = OperandBytes<Number>;
    const int steps = (end - begin) / Number::Depth;
    auto side = [&](int step, int operand) { return reinterpret_cast<T*>(shared + (step % Number::Stages * 2 + operand) * Bytes); };
    auto start = [&](int step)
    {
        if (step < steps)
        {
            start_copy<Number, INNER_A>(side(step, 0), a, begin + step * Number::Depth);
            start_copy<Number, INNER_B>(side(step, 1), b, begin + step * Number::Depth);
        }
        cp_async_commit(); // empty at the end, so that the groups can be counted
    };
#pragma unroll
    for (int step = 0; step < Ahead; step++) start(step);
    for (int step = 0; step < steps; step++)
    {
        cp_async_wait<Ahead - 1>(); // this step's copies, of this thread
        __syncthreads();            // of all threads; and the readers of the stage that is filled next are done with it
        start(step + Ahead);
        tile.template add<INNER_A, INNER_B>(side(step, 0), side(step, 1));
    }
    cp_async_wait<0>();
    __syncthreads(); // the last stage's readers are done with it
}
}
