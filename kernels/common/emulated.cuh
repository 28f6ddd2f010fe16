// Emulated side of the prelude: g++, for bindings/emulator. Functions here are not instrumented in checked mode
// (EMULATED_INTRINSIC); what they touch on a thread's behalf they report themselves.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "abi.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

#define DEV static inline
#define DEV_MEMBER inline
#define EMULATED_INTRINSIC static inline __attribute__((always_inline, no_sanitize("thread")))

#define KCE_TEXT_(x) #x
#define KCE_TEXT(x) KCE_TEXT_(x)
#define KCE_HERE __FILE__ ":" KCE_TEXT(__LINE__)

// ---- Built-in variables ----

#define threadIdx (kce_thread->thread)
#define blockIdx (kce_thread->block)
#define blockDim (kce_thread->block_size)
#define gridDim (kce_thread->grid_size)

struct float2
{
    float x, y;
};
struct alignas(16) float4
{
    float x, y, z, w;
};

// ---- Shared memory ----

#define SHARED(T, name, ...)                                                                         \
    static const char name##_declaration = 0;                                                        \
    using name##_type = T __VA_ARGS__;                                                               \
    static_assert(alignof(name##_type) <= 16, "shared arrays are 16-byte aligned");                  \
    auto& name = *static_cast<name##_type*>(kce_shared(&name##_declaration, sizeof(name##_type), #name, KCE_HERE))

#define DYN_SHARED(T, name) T* name = static_cast<T*>(kce_dynamic_shared())

// ---- Barriers ----

#define __syncthreads() kce_syncthreads(KCE_HERE)
#define __syncwarp() kce_collective(0xffffffffu, "__syncwarp", nullptr, nullptr, KCE_HERE)

// ---- Asynchronous copies ----

#define cp_async16_of(shared, global, bytes) kce_cp_async(shared, global, bytes, KCE_HERE)
#define cp_async16(shared, global, present) kce_cp_async(shared, global, (present) ? 16 : 0, KCE_HERE)
EMULATED_INTRINSIC void cp_async_commit() { kce_cp_async_commit(); }
template <int LEFT> EMULATED_INTRINSIC void cp_async_wait() { kce_cp_async_wait(LEFT); }

// ---- Warp collectives: one rendezvous each, computed for all lanes by the last to arrive ----

namespace kce
{
template <class T> struct Exchange
{
    T value;
    int source;
    T result;
};

template <class T> __attribute__((no_sanitize("thread"))) void shuffle_lanes(void** lanes, unsigned mask)
{
    for (int lane = 0; lane < 32; lane++)
    {
        if (!(mask >> lane & 1)) continue;
        auto* mine = static_cast<Exchange<T>*>(lanes[lane]);
        if (!(mask >> mine->source & 1)) kce_fail("a shuffle reads lane %d, which does not take part", mine->source);
        mine->result = static_cast<Exchange<T>*>(lanes[mine->source])->value;
    }
}

template <class T> EMULATED_INTRINSIC T shuffle(unsigned mask, T value, int source, const char* where)
{
    Exchange<T> mine{value, source, value};
    kce_collective(mask, "a shuffle", &mine, shuffle_lanes<T>, where);
    return mine.result;
}

EMULATED_INTRINSIC int lane() { return static_cast<int>(kce_thread->linear % 32); }

template <class T> struct Reduction
{
    T value;
    T (*combine)(T, T);
};

// Combines by butterfly, as the device does, so that the rounding is the same.
template <int LANES, class T> __attribute__((no_sanitize("thread"))) void reduce_lanes(void** lanes, unsigned mask)
{
    if (mask != 0xffffffffu) kce_fail("a warp reduction needs all 32 lanes");
    T now[32], next[32];
    for (int i = 0; i < 32; i++) now[i] = static_cast<Reduction<T>*>(lanes[i])->value;
    auto combine = static_cast<Reduction<T>*>(lanes[0])->combine;
    for (int offset = LANES / 2; offset > 0; offset /= 2)
    {
        for (int i = 0; i < 32; i++) next[i] = combine(now[i], now[i ^ offset]);
        std::memcpy(now, next, sizeof now);
    }
    for (int i = 0; i < 32; i++) static_cast<Reduction<T>*>(lanes[i])->value = now[i];
}

template <int LANES, class T, class F> EMULATED_INTRINSIC T all_reduce(T value, F combine, const char* where)
{
    Reduction<T> mine{value, combine};
    kce_collective(0xffffffffu, "a warp reduction", &mine, reduce_lanes<LANES, T>, where);
    return mine.value;
}
}
#define WARP_ALL_REDUCE(LANES, value, combine) kce::all_reduce<LANES>(value, combine, KCE_HERE)

namespace kce
{
struct Vote
{
    bool mine;
    unsigned all;
};

__attribute__((no_sanitize("thread"))) static inline void count_votes(void** lanes, unsigned mask)
{
    unsigned all = 0;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) all |= static_cast<unsigned>(static_cast<Vote*>(lanes[lane])->mine) << lane;
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) static_cast<Vote*>(lanes[lane])->all = all;
}

EMULATED_INTRINSIC unsigned ballot(unsigned mask, bool mine, const char* where)
{
    Vote vote{mine, 0};
    kce_collective(mask, "a ballot", &vote, count_votes, where);
    return vote.all;
}
}
#define __ballot_sync(mask, predicate) kce::ballot(mask, (predicate) != 0, KCE_HERE)
#define __shfl_sync(mask, value, source) kce::shuffle(mask, value, (source) & 31, KCE_HERE)
#define __shfl_xor_sync(mask, value, offset) kce::shuffle(mask, value, kce::lane() ^ (offset), KCE_HERE)

// ---- Intrinsics ----

EMULATED_INTRINSIC float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

// Products and sums that the compiler must not fuse. The empty asm is a fence for the optimizer.
EMULATED_INTRINSIC float __fmul_rn(float a, float b)
{
    float product = a * b;
    asm("" : "+x"(product));
    return product;
}
EMULATED_INTRINSIC float __fadd_rn(float a, float b)
{
    float sum = a + b;
    asm("" : "+x"(sum));
    return sum;
}
EMULATED_INTRINSIC float __fsub_rn(float a, float b) { return __fadd_rn(a, -b); }
EMULATED_INTRINSIC int __popc(unsigned x) { return __builtin_popcount(x); }
EMULATED_INTRINSIC int min(int a, int b) { return a < b ? a : b; }
EMULATED_INTRINSIC int max(int a, int b) { return a > b ? a : b; }
using std::isnan;

EMULATED_INTRINSIC uint32_t __float_as_uint(float x)
{
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

EMULATED_INTRINSIC float __uint_as_float(uint32_t bits)
{
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// ---- Registration ----

namespace kce
{
template <auto Function> struct Invoke;
template <class... P, void (*Function)(P...)> struct Invoke<Function>
{
    static constexpr int count = sizeof...(P);
    static constexpr int sizes[count + 1] = {static_cast<int>(sizeof(P))..., 0};
    template <size_t... I> static void call(void** parameters, std::index_sequence<I...>)
    {
        (void)parameters;
        Function(*static_cast<std::remove_reference_t<P>*>(parameters[I])...);
    }
    static void invoke(void** parameters) { call(parameters, std::make_index_sequence<count>()); }
};
}

#ifdef __SANITIZE_THREAD__
#define KCE_CHECKED true
#else
#define KCE_CHECKED false
#endif

// Appended by the build, one per kernel.
#define KCE_REGISTER(name, max_threads)                                                                      \
    extern "C" __attribute__((visibility("default"))) const kce::Kernel kce_kernel_##name = {                \
        #name, kce::Invoke<&name>::count, kce::Invoke<&name>::sizes, max_threads, &kce::Invoke<&name>::invoke, KCE_CHECKED};
