// The contrastive losses' weights and one product of them in one kernel, for compute capability 9.0 and D <= 128: what
// contrastive_weights_hopper and contrastive_product_hopper do together, but weights stay in registers.
//
//   out_i = sum_j w_ij b_j              for rows i; or, exchanged, out_j = sum_i w_ij a_i for columns j
//   w_ij                                as in contrastive.cu, rounded to bfloat16
//
// A block owns 128 lines, the rows or the columns, and goes along its slice of the others, 64 at a time. Each of its two
// warpgroups has 64 lines:
//
//   s   = own z^T      64 x 64           own in registers, as fragments, from the first step to the last
//   w   = of s         64 x 64           where s's accumulators lie a product's first operand has its numbers: no exchange
//   out += w z         64 x PITCH        the same bytes of z in shared memory, read across
//
// The next step's s is begun before this one's exponentials and the product before may still be under way meanwhile, so the
// tensor cores have work. A stage of z is there for s (step t - 1) until out has it (step t + 1), and copied two steps before.
//
// What others give to a weight (their shift and scale) is copied with them. temperature: sums of w s before w is rounded,
// of a step in float32, of the steps in double. Partial outs of slices are folded by contrastive_gradient.
// Work: 4 N^2 D operations, where both kernels of stripes have as many. Nothing is written but out.
// Launched by Ops/Contrast.Cuda.cs with 256 threads. Overwrites its outputs.
#include "common/product_tile_hopper.cuh"
#include "common/contrastive_tiles.cuh"

#if defined(KCE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

namespace product
{
struct Fused
{
    static constexpr int Edge = 64, Stages = 5;
};

// Where the accumulators of a warpgroup's s lie; they are an array beside it.
template <> struct Tile<Fused>
{
    static constexpr int Rows = 2, Columns = 16;
    DEV_MEMBER static int row(int r) { return threadIdx.x % 128 / 32 * 16 + fragment::row(r * 2); }
    DEV_MEMBER static int column(int c) { return c / 2 * 8 + fragment::column(c % 2); }
};
}

// Arrays of the owned lines and of the others; null where the loss has nothing of that side.
struct Coefficients
{
    const float* shift; // with LogSumOnline only
    const float* scale;
    const float* offset;
};

struct FusedArguments
{
    Scores scores;
    float* out;     // [slices, lines, pitch]
    float* by_tile; // [tiles of 128 lines, slices] sum of w s before w is rounded, or null
    Coefficients own, others;
    int first_line; // of this launch, a multiple of 128
    int lines;      // of this launch
    int per_slice;  // others in a slice, a multiple of 64
    int exchanged;  // the lines are columns
};

// Bytes of 64 lines by 64 numbers, swizzled; a stage has as many of them as a line has 64 numbers.
constexpr int HalfStage = 64 * 128, SideFloats = 2 * 64;
template <int PITCH> constexpr int StageBytes = PITCH / 64 * HalfStage;

// The owned lines' numbers, as fragments of 16 lines by 16 numbers. Lines that are not there are zeros.
template <int STEPS> DEV void load_own(uint32_t (&own)[STEPS][4], const bf16* z, int pitch, int line0, int lines)
{
#pragma unroll
    for (int r = 0; r < 2; r++)
    {
        const int line = line0 + Tile<Fused>::row(r);
        const auto* from = reinterpret_cast<const uint32_t*>(z + static_cast<int64_t>(line < lines ? line : 0) * pitch);
#pragma unroll
        for (int k = 0; k < STEPS; k++)
#pragma unroll
            for (int half = 0; half < 2; half++) own[k][2 * half + r] = line < lines ? from[8 * k + 4 * half + fragment::column(0) / 2] : 0;
    }
}

// What does not change from step to step.
template <int SCORE> struct Weighing
{
    const FusedArguments& arguments;
    Side own[2];
    bool there[2]; // the thread's lines
    int line0;     // the warpgroup's
    int positives, half, end; // of `plain`
    float inv_temperature, bias, inv_temperature_2; // the last for powers of 2
    double along;  // sum of w s

    DEV_MEMBER Weighing(const FusedArguments& from, int first) : arguments(from), line0(first), along(0)
    {
        const Scores& p = arguments.scores;
        const bool exchanged = arguments.exchanged;
        inv_temperature = p.scalars[0];
        bias = p.scalars[1];
        inv_temperature_2 = inv_temperature * 1.44269504f;
        positives = line0 + (exchanged ? -p.first_positive : p.first_positive);
        half = p.positives == Halves ? p.rows / 2 : 0;
        end = p.row_labels || (exchanged && p.negatives < p.columns) ? 0 : exchanged ? p.rows : min(p.negatives, p.columns);
        const int lines = exchanged ? p.columns : p.rows;
#pragma unroll
        for (int r = 0; r < 2; r++)
        {
            const int line = min(line0 + Tile<Fused>::row(r), lines - 1);
            there[r] = line == line0 + Tile<Fused>::row(r);
            own[r] = {SCORE == LogSumOnline && arguments.own.shift ? arguments.own.shift[line] : 1.0f, arguments.own.scale ? arguments.own.scale[line] : 0.0f};
        }
    }

    // Whether all pairs of the warpgroup's lines with the 64 others are negatives; of lines that are not there nothing is kept.
    DEV_MEMBER bool plain(int other0) const
    {
        const int apart = other0 - positives;
        return other0 + 64 <= end && abs(apart) >= 64 && abs(apart - half) >= 64 && abs(apart + half) >= 64;
    }

    // The product's operand of this step, of the scores; `sides` are the others' shifts and scales. PLAIN: all are negatives.
    template <bool PLAIN> DEV_MEMBER void weigh(uint32_t (&w)[4][4], const float (&s)[8][4], const float* sides, int other0)
    {
        const Scores& p = arguments.scores;
        const bool of_own = arguments.own.scale, of_others = arguments.others.scale;
        const Roles roles = PLAIN ? Roles{0, 0} : roles_of<Fused>(p, line0, other0, arguments.exchanged);
        float sums[2] = {0.0f, 0.0f};
#pragma unroll
        for (int pair = 0; pair < 4; pair++)
        {
            float weights[2][4];
#pragma unroll
            for (int c = 4 * pair; c < 4 * pair + 4; c++)
            {
                const int column = Tile<Fused>::column(c);
                const Side other = {SCORE == LogSumOnline && of_others ? sides[column] : 1.0f, of_others ? sides[64 + column] : 0.0f};
#pragma unroll
                for (int r = 0; r < 2; r++)
                {
                    const float x = s[c / 2][2 * r + c % 2];
                    float weight = weight_of(p, SCORE, x, inv_temperature, bias, of_own, own[r], of_others, other, !PLAIN && has(roles.positive, 16 * r + c),
                        [&](float shift) { return exp2_approx(SCORE == LogSum ? fmaf(x, inv_temperature_2, -inv_temperature_2) : (x - shift) * inv_temperature_2); },
                        [&]
                        {
                            return (arguments.own.offset ? arguments.own.offset[line0 + Tile<Fused>::row(r)] : 0.0f) +
                                   (arguments.others.offset ? arguments.others.offset[other0 + column] : 0.0f);
                        });
                    if (!PLAIN && has(roles.neither, 16 * r + c)) weight = 0.0f;
                    else sums[r] += weight * x;
                    weights[c / 2 % 2][2 * r + c % 2] = weight;
                }
            }
            fragment::from_accumulators(w[pair], weights[0], weights[1]);
        }
        if (arguments.by_tile) along += static_cast<double>((there[0] ? sums[0] : 0.0f) + (there[1] ? sums[1] : 0.0f));
    }
};

// Grid: (slices, tiles of 128 lines).
template <int PITCH, int SCORE> DEV void fused(const FusedArguments& arguments)
{
    constexpr int Stages = Fused::Stages, Steps = PITCH / 16;
    DYN_SHARED(unsigned char, shared);
    const Scores& p = arguments.scores;
    const bool exchanged = arguments.exchanged;
    const auto* const own_z = static_cast<const bf16*>(exchanged ? p.b : p.a);
    const auto* const other_z = static_cast<const bf16*>(exchanged ? p.a : p.b);
    const int others = exchanged ? p.rows : p.columns, own_lines = exchanged ? p.columns : p.rows;
    const int begin = blockIdx.x * arguments.per_slice, end = min(begin + arguments.per_slice, others), steps = (end - begin + 63) / 64;
    unsigned char* const stages = hopper_stages(shared);
    float* const sides = reinterpret_cast<float*>(stages + Stages * StageBytes<PITCH>); // [stages][shift, scale][64]

    // Each thread copies the same 8 numbers of every Apart-th of the others, to places a whole number of patterns apart.
    constexpr int Apart = Threads / (PITCH / 8);
    const int first = threadIdx.x / (PITCH / 8), column = threadIdx.x % (PITCH / 8), place = column / 8 * HalfStage + swizzled(first * 128 + column % 8 * 16);
    const bf16* const from = other_z + static_cast<int64_t>(begin + first) * PITCH + column * 8;
    const float* const coefficients = threadIdx.x >= 32 ? nullptr : threadIdx.x < 16 ? arguments.others.shift : arguments.others.scale;
    // Starts the copies of a step to a stage; others that are not there are zeros.
    auto start = [&](int step, int stage)
    {
        if (step < steps)
        {
#pragma unroll
            for (int i = 0; i < 64 / Apart; i++)
            {
                const bool present = begin + step * 64 + first + i * Apart < others;
                cp_async16(stages + stage * StageBytes<PITCH> + place + i * Apart * 128, present ? from + static_cast<int64_t>(step * 64 + i * Apart) * PITCH : other_z, present);
            }
            if (coefficients)
            {
                const int four = threadIdx.x % 16 * 4, other = begin + step * 64 + four, present = min(max(others - other, 0), 4);
                cp_async16_of(sides + stage * SideFloats + threadIdx.x / 16 * 64 + four, present ? coefficients + other : coefficients, 4 * present);
            }
        }
        cp_async_commit(); // empty at the end, so that the groups can be counted
    };
    start(0, 0);
    start(1, 1);
    start(2, 2);

    const int line0 = arguments.first_line + blockIdx.y * 128 + threadIdx.x / 128 * 64;
    Weighing<SCORE> weighing(arguments, line0);
    uint32_t own[Steps][4], w[2][4][4];
    load_own(own, own_z, PITCH, line0, own_lines);
    float scores[2][8][4], out[PITCH / 8][4];
#pragma unroll
    for (int n = 0; n < PITCH / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) out[n][e] = 0.0f;
    wgmma_fence(own);
    wgmma_fence(out);

    auto begin_scores = [&](float (&s)[8][4], int stage)
    {
        wgmma_fence(s);
#pragma unroll
        for (int k = 0; k < Steps; k++)
        {
            const auto z = wgmma::further(k_major(stages + stage * StageBytes<PITCH> + k / 4 * HalfStage, HopperPattern), 32 * (k % 4));
            if (k == 0) wgmma_bf16_set(s, own[k], z);
            else wgmma_bf16(s, own[k], z);
        }
        wgmma_commit();
    };
    int stage = 0; // this step's
    auto after = [&](int steps_on) { return stage + steps_on < Stages ? stage + steps_on : stage + steps_on - Stages; };
    // The scores of this step are in s; those of the next go to `next`.
    auto advance = [&](float (&s)[8][4], float (&next)[8][4], uint32_t (&weights)[4][4], int step)
    {
        cp_async_wait<1>(); // the next step's copies, of this thread
        fence_proxy_async();
        __syncthreads(); // of all threads; and both warpgroups have waited for the product that read the stage that is filled next
        if (step + 1 < steps) begin_scores(next, after(1));
        start(step + 3, after(3));
        const int other0 = begin + step * 64;
        if (weighing.plain(other0)) weighing.template weigh<true>(weights, s, sides + stage * SideFloats, other0);
        else
        {
            weighing.template weigh<false>(weights, s, sides + stage * SideFloats, other0);
            __syncwarp(); // its lanes may have gone apart, and what follows is one instruction of the whole warp
        }
        wgmma_fence(weights);
#pragma unroll
        for (int k = 0; k < 4; k++)
            wgmma_bf16(out, weights[k], wgmma::further(mn_major(stages + stage * StageBytes<PITCH>, HalfStage, HopperPattern), 16 * 128 * k));
        wgmma_commit();
        wgmma_wait<1>(next); // the next scores and the product before this one
        stage = after(1);
    };

    cp_async_wait<2>(); // the first step's copies, of this thread
    fence_proxy_async();
    __syncthreads(); // of all threads
    begin_scores(scores[0], 0);
    wgmma_wait<0>(scores[0]);
#pragma unroll 1
    for (int step = 0; step < steps; step += 2)
    {
        advance(scores[0], scores[1], w[0], step);
        if (step + 1 < steps) advance(scores[1], scores[0], w[1], step + 1);
    }
    wgmma_wait_all(out);
    cp_async_wait<0>(); // empty groups

    float* const to = arguments.out + static_cast<int64_t>(blockIdx.x) * arguments.lines * PITCH;
#pragma unroll
    for (int r = 0; r < 2; r++)
    {
        const int line = line0 - arguments.first_line + Tile<Fused>::row(r);
        if (line >= arguments.lines) continue;
#pragma unroll
        for (int n = 0; n < PITCH / 8; n++)
            *reinterpret_cast<float2*>(to + static_cast<int64_t>(line) * PITCH + 8 * n + fragment::column(0)) = {out[n][2 * r], out[n][2 * r + 1]};
    }
    if (!arguments.by_tile) return; // with its whole block
    __syncthreads(); // the last stages' and sides' readers are done with them
    const double sum = block_sum(weighing.along, reinterpret_cast<double*>(stages));
    if (threadIdx.x == 0) arguments.by_tile[blockIdx.y * gridDim.x + blockIdx.x] = static_cast<float>(sum);
}

extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_64(FusedArguments arguments) { fused<64, LogSum>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_online_64(FusedArguments arguments) { fused<64, LogSumOnline>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_sigmoid_64(FusedArguments arguments) { fused<64, Sigmoid>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_128(FusedArguments arguments) { fused<128, LogSum>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_online_128(FusedArguments arguments) { fused<128, LogSumOnline>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_fused_hopper_sigmoid_128(FusedArguments arguments) { fused<128, Sigmoid>(arguments); }

#endif
