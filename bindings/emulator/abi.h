// What a kernel module and the emulated driver know of each other. A module is a kernel file compiled by g++; it calls
// these functions where the device would execute a barrier, a collective or a copy.
#pragma once
#include <cstddef>
#include <cstdint>

namespace kce
{
struct Index
{
    unsigned x = 1, y = 1, z = 1;
};

// The built-in variables of one CUDA thread; `linear` is its number within the block.
struct Thread
{
    Index thread, block, block_size, grid_size;
    unsigned linear = 0;
};

// Runs once for a whole warp: lanes[l] are the operands of lane l for every bit l of the mask.
using LaneFunction = void (*)(void** lanes, unsigned mask);

// A product of a warpgroup (wgmma) as one of its 128 lanes gives it.
struct WarpgroupProduct
{
    float* accumulators; // [blocks][4] of this lane
    uint32_t* fragment;  // [4] of this lane: its part of a; or null
    uint64_t a, b;       // descriptors of 64 x 16 and 16 x 8 blocks bfloat16 numbers in shared memory
    int blocks;
    bool transposed_a, transposed_b; // lines lie across the depth
    bool adds;           // or the accumulators' numbers are lost
    void (*multiply)(float* sums, const float* a, const float* b); // sums[64][8 blocks] += a[64][16] b[16][8 blocks]
};

// One line per kernel, exported as kce_kernel_<name>; the build writes it from the kernel's signature.
struct Kernel
{
    const char* name;
    int parameter_count;
    const int* parameter_sizes;
    int max_threads; // of __launch_bounds__, or 1024
    void (*invoke)(void** parameters);
    bool checked; // compiled so that every access to memory is checked
};
}

extern "C"
{
// The thread that runs now on this OS thread. initial-exec: read for every threadIdx, so it must be one load.
extern __thread kce::Thread* kce_thread __attribute__((tls_model("initial-exec")));

void kce_syncthreads(const char* where);

// Lanes of `mask` meet; the last to arrive runs `function` for all. `kind` names the collective in messages; lanes
// that meet in different ones are an error. A null function is __syncwarp.
void kce_collective(unsigned mask, const char* kind, void* operands, kce::LaneFunction function, const char* where);

// The block's array for this declaration: the same address for every thread of the block, NaN-filled at first.
void* kce_shared(const void* declaration, size_t bytes, const char* name, const char* where);
void* kce_dynamic_shared();

// cp.async of 16 bytes, of which `source_bytes` are read and the rest zero.
void kce_cp_async(void* shared, const void* global, int source_bytes, const char* where);
void kce_cp_async_commit();
void kce_cp_async_wait(int groups_left);

// fence.proxy.async: what this thread wrote to shared memory, and waited for, is for wgmma to read.
void kce_fence_proxy_async();

// Where an address of shared memory lies in it.
uint32_t kce_shared_address(const void* pointer, const char* where);

// wgmma.mma_async, fence, commit_group and wait_group. The product is one rendezvous of 128 threads; each of the others
// belongs to its thread.
void kce_wgmma(const kce::WarpgroupProduct* product, const char* where);
void kce_wgmma_fence();
void kce_wgmma_fence_fragment(const uint32_t* fragment); // [4], which the fence hands over too
void kce_wgmma_commit();
void kce_wgmma_wait(int groups_left, const char* where);

// Reports an access made on a thread's behalf (a copy, a collective) to the checks.
void kce_touch(const void* address, size_t bytes, bool write, const char* where);

// Ends the launch with this message.
[[noreturn]] void kce_fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
}
