// Device side of the prelude: nvcc and NVRTC. No CUDA toolkit header is included, so NVRTC needs no include path.
#pragma once

#ifdef __CUDACC_RTC__
typedef unsigned short uint16_t;
typedef signed int int32_t;
typedef unsigned int uint32_t;
typedef signed long long int64_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#else
#include <cstdint>
#endif

#define DEV static __device__ __forceinline__
#define DEV_MEMBER __device__ __forceinline__

// SHARED(float, tile, [16][64]): a shared array of the block, 16-byte aligned.
#define SHARED(T, name, ...) __shared__ __align__(16) T name __VA_ARGS__

// DYN_SHARED(float, tile): the block's dynamic shared memory, of the size given at the launch.
#define DYN_SHARED(T, name)                                            \
    extern __shared__ __align__(16) unsigned char dynamic_shared_[];   \
    T* name = reinterpret_cast<T*>(dynamic_shared_)

// ---- Asynchronous copies from global to shared memory (cp.async, sm_80) ----

// Copies `bytes` of 16 bytes, 0 to 16, and writes zeros in place of the others, which are not read; both addresses 16-byte
// aligned. Only this thread may rely on it, after cp_async_wait; others also need a barrier.
DEV void cp_async16_of(void* shared, const void* global, int bytes)
{
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}

// All 16, or none when `present` is false.
DEV void cp_async16(void* shared, const void* global, bool present) { cp_async16_of(shared, global, present ? 16 : 0); }

// Closes a group of copies.
DEV void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most LEFT of this thread's groups, the newest, are still under way.
template <int LEFT> DEV void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

// ---- Warp collectives ----

namespace warp_detail
{
template <int LANES, class T, class F> DEV T all_reduce(T value, F combine)
{
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2)
        value = combine(value, __shfl_xor_sync(0xffffffffu, value, offset));
    return value;
}
}
#define WARP_ALL_REDUCE(LANES, value, combine) warp_detail::all_reduce<LANES>(value, combine)
