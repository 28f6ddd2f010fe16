// The wgmma wrappers, one kernel per size and direction of the operands, so that each can be compared with a plain product
// on the emulated driver and on a GPU of compute capability 9.0. Launched by tests/KernelContrast.Tests/WgmmaTests.cs with
// one warpgroup. Nothing else uses this module.
#include "common/wgmma.cuh"

#if defined(KCE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

namespace
{
constexpr int Depth = 64, PatternBytes = 1024, HalfBytes = 64 * 128;

// Copies a matrix of 64 depths to where wgmma finds it. MN: it lies [depth][line], else [line][depth].
template <bool MN> DEV void fill(unsigned char* to, const bf16* from, int lines)
{
    for (int chunk = threadIdx.x; chunk < lines * Depth / 8; chunk += 128)
    {
        const int line = MN ? chunk % (lines / 8) * 8 : chunk / 8, depth = MN ? chunk / (lines / 8) : chunk % 8 * 8;
        const int place = MN ? line / 64 * HalfBytes + swizzled(depth * 128 + line % 64 * 2) : swizzled(line * 128 + depth * 2);
        cp_async16(to + place, from + (MN ? depth * lines + line : line * Depth + depth), true);
    }
}

// The 16 depths of step k.
template <bool MN> DEV auto matrix(const unsigned char* first, int k)
{
    if constexpr (MN) return wgmma::further(mn_major(first, HalfBytes, PatternBytes), 2 * k * PatternBytes);
    else return wgmma::further(k_major(first, PatternBytes), 32 * k);
}

// This thread's part of a, [line][depth], for each step of 16 depths.
DEV void load_fragments(uint32_t (&to)[Depth / 16][4], const uint32_t* from)
{
#pragma unroll
    for (int k = 0; k < Depth / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            const int row = threadIdx.x / 32 * 16 + fragment::row(i % 2 * 2), column = 16 * k + i / 2 * 8 + fragment::column(0);
            to[k][i] = from[(row * Depth + column) / 2];
        }
}

// Step k; with SETS the first sets the sums.
template <bool SETS, int BLOCKS, class OfA, class OfB> DEV void add(float (&sums)[BLOCKS][4], OfA& a, OfB b, int k)
{
    if (SETS && k == 0) wgmma_bf16_set(sums, a, b);
    else wgmma_bf16(sums, a, b);
}

enum A
{
    KMajor,
    MnMajor,
    Registers,
};

// c += a b, or SETS: c = a b, 64 x 8 BLOCKS over 64 of the depth, c as each thread holds it.
template <int BLOCKS, A OF_A, bool MN_B, bool SETS = false> DEV void multiply(uint32_t* c, const uint32_t* a, const uint32_t* b)
{
    constexpr bool MN_A = OF_A == MnMajor;
    SHARED(unsigned char, space, [3 * HalfBytes + PatternBytes]);
    unsigned char* const first = space + (PatternBytes - shared_address(space) % PatternBytes) % PatternBytes;
    if (OF_A != Registers) fill<MN_A>(first, reinterpret_cast<const bf16*>(a), 64);
    fill<MN_B>(first + HalfBytes, reinterpret_cast<const bf16*>(b), 8 * BLOCKS);
    cp_async_commit();
    float sums[BLOCKS][4];
#pragma unroll
    for (int n = 0; n < BLOCKS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[n][e] = __uint_as_float(c[(threadIdx.x * BLOCKS + n) * 4 + e]);
    cp_async_wait<0>();
    fence_proxy_async();
    __syncthreads(); // every thread's copies are there
    wgmma_fence(sums);
    if constexpr (OF_A == Registers)
    {
        uint32_t of_a[Depth / 16][4];
        load_fragments(of_a, a);
        wgmma_fence(of_a);
#pragma unroll
        for (int k = 0; k < Depth / 16; k++) add<SETS>(sums, of_a[k], matrix<MN_B>(first + HalfBytes, k), k);
        wgmma_commit();
        wgmma_wait_all(sums); // the registers are in scope until here
    }
    else
    {
#pragma unroll
        for (int k = 0; k < Depth / 16; k++)
        {
            auto of_a = matrix<MN_A>(first, k);
            add<SETS>(sums, of_a, matrix<MN_B>(first + HalfBytes, k), k);
        }
        wgmma_commit();
        wgmma_wait_all(sums);
    }
#pragma unroll
    for (int n = 0; n < BLOCKS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) c[(threadIdx.x * BLOCKS + n) * 4 + e] = __float_as_uint(sums[n][e]);
}
}

// c: [128 threads][n / 8][4] numbers; a: [64][64] bfloat16, b: [n][64], lines first (k) or depths first (m), two numbers a
// word; a may go to registers (r).
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_kk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, KMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_km(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, KMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_mk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, MnMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_mm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, MnMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_rk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, Registers, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_rm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, Registers, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_kk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, KMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_km(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, KMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_mk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, MnMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_mm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, MnMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_rk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, Registers, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_rm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, Registers, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_kk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, KMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_km(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, KMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_mk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, MnMajor, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_mm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, MnMajor, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_rk(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, Registers, false>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_rm(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, Registers, true>(c, a, b); }

extern "C" __global__ void __launch_bounds__(128) exp2_approximate(float* __restrict__ y, const float* __restrict__ x) // [128] each
{
    y[threadIdx.x] = exp2_approx(x[threadIdx.x]);
}

// c = a b.
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_kk_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, KMajor, false, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n8_rm_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<1, Registers, true, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_kk_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, KMajor, false, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n64_rm_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<8, Registers, true, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_kk_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, KMajor, false, true>(c, a, b); }
extern "C" __global__ void __launch_bounds__(128) wgmma_n128_rm_set(uint32_t* __restrict__ c, const uint32_t* __restrict__ a, const uint32_t* __restrict__ b) { multiply<16, Registers, true, true>(c, a, b); }

#endif
