// Emulated side of wgmma.cuh. What each function does is said there. The emulated driver decodes the descriptors, reads the
// operands and hands out the sums when they are waited for (bindings/emulator/warpgroup.cpp); until then accumulators are NaN.
#pragma once

#define shared_address(pointer) kce_shared_address(pointer, KCE_HERE)

namespace kce
{
EMULATED_INTRINSIC uint32_t matrix_address(const void* address, int leading, int stride, const char* where)
{
    const uint32_t in_shared = kce_shared_address(address, where);
    if (in_shared % 16 != 0 || leading % 16 != 0 || stride % 16 != 0)
        kce_fail("%s: a wgmma descriptor of an address or an offset that is not a multiple of 16 bytes", where);
    return in_shared;
}

// sums[64][8 BLOCKS] += a[64][16] b[16][8 BLOCKS]. The order of sums is a plain loop's; the hardware's is not documented.
template <int BLOCKS> __attribute__((no_sanitize("thread"))) void multiply_warpgroup(float* sums, const float* a, const float* b)
{
    for (int row = 0; row < 64; row++)
        for (int k = 0; k < 16; k++)
            for (int column = 0; column < 8 * BLOCKS; column++) sums[row * 8 * BLOCKS + column] += a[row * 16 + k] * b[k * 8 * BLOCKS + column];
}

template <int BLOCKS, class A, class B> EMULATED_INTRINSIC void begin_wgmma(float (&c)[BLOCKS][4], const A& a, B b, bool adds, const char* where)
{
    static_assert(BLOCKS == 1 || BLOCKS == 8 || BLOCKS == 16, "the sizes that the device side has");
    WarpgroupProduct mine{&c[0][0], nullptr, a.bits, b.bits, BLOCKS, A::Transposed, B::Transposed, adds, multiply_warpgroup<BLOCKS>};
    kce_wgmma(&mine, where);
}

template <int BLOCKS, class B> EMULATED_INTRINSIC void begin_wgmma(float (&c)[BLOCKS][4], uint32_t (&a)[4], B b, bool adds, const char* where)
{
    static_assert(BLOCKS == 1 || BLOCKS == 8 || BLOCKS == 16, "the sizes that the device side has");
    WarpgroupProduct mine{&c[0][0], a, 0, b.bits, BLOCKS, false, B::Transposed, adds, multiply_warpgroup<BLOCKS>};
    kce_wgmma(&mine, where);
}

template <int BLOCKS> EMULATED_INTRINSIC void wait_wgmma(float (&)[BLOCKS][4], const char* where) { kce_wgmma_wait(0, where); }
}

EMULATED_INTRINSIC float exp2_approx(float x)
{
    const float y = std::exp2(x);
    return y < 1.17549435e-38f ? 0.0f : y;
}

#define k_major(address, stride) wgmma::KMajor{wgmma::bits_of(kce::matrix_address(address, 16, stride, KCE_HERE), 16, stride)}
#define mn_major(address, leading, stride) wgmma::MnMajor{wgmma::bits_of(kce::matrix_address(address, leading, stride, KCE_HERE), leading, stride)}
#define wgmma_bf16(c, a, b) kce::begin_wgmma(c, a, b, true, KCE_HERE)
#define wgmma_bf16_set(c, a, b) kce::begin_wgmma(c, a, b, false, KCE_HERE)
#define wgmma_wait_all(c) kce::wait_wgmma(c, KCE_HERE)
#define fence_proxy_async() kce_fence_proxy_async()
template <int BLOCKS> EMULATED_INTRINSIC void wgmma_fence(float (&)[BLOCKS][4]) { kce_wgmma_fence(); }
template <int COUNT> EMULATED_INTRINSIC void wgmma_fence(uint32_t (&a)[COUNT][4])
{
    for (int n = 0; n < COUNT; n++) kce_wgmma_fence_fragment(a[n]);
    kce_wgmma_fence();
}
EMULATED_INTRINSIC void wgmma_commit() { kce_wgmma_commit(); }
template <int LEFT> EMULATED_INTRINSIC void wgmma_wait() { kce_wgmma_wait(LEFT, "wgmma_wait"); }
template <int LEFT, int BLOCKS> EMULATED_INTRINSIC void wgmma_wait(float (&)[BLOCKS][4]) { kce_wgmma_wait(LEFT, "wgmma_wait"); }
