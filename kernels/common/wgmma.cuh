// Products of whole warpgroups on the tensor cores of compute capability 9.0 (wgmma, compiled for sm_90a), for both sides.
// Not part of the prelude: kernel files for 9.0 alone include it, by way of product_tile_hopper.cuh. Four warps, threads
// 128 g .. 128 g + 127 of a block, multiply matrices that lie in shared memory, while their threads go on:
//
//   cp_async_wait<..>(); fence_proxy_async(); __syncthreads();   // what each thread copied is there for everybody's wgmma
//   wgmma_fence(c);                          // the threads have done with the accumulators' registers
//   for (k..) wgmma_bf16(c, a, b);           // c += a b over 16 of the depth, begun and not waited for
//   wgmma_commit();                          // those begun since the last commit are a group
//   wgmma_wait<1>();                         // all groups but the newest are done with shared memory
//   wgmma_wait<1>(c);                        // the same, and c, of groups that are done, holds its sums
//   wgmma_wait_all(c);                       // all groups are, and c holds the sums; before that nobody may look
//
//   float c[BLOCKS][4]                       64 rows and 8 BLOCKS columns (BLOCKS 1, 8, 16): c[n][e] is the number at row
//                                            16 (warp of the group) + fragment::row(e), column 8 n + fragment::column(e)
//   k_major(address, stride)                 a descriptor of lines that lie along the depth: 128 bytes of a line, 64
//                                            numbers, side by side; lines 128 bytes apart, 8 lines from the next 8 by
//                                            `stride` bytes. The address may lie 32, 64 or 96 bytes inside: there begins
//                                            the product's 16 of the depth
//   mn_major(address, leading, stride)       of lines that lie across it: 64 lines' numbers of one depth are 128 bytes,
//                                            the next depth's the next 128; `stride` bytes from 8 depths to the next 8,
//                                            `leading` from 64 lines to the next 64
//   wgmma_bf16_set(c, a, b)                  c = a b: what c held is lost, and need not be cleared
//   uint32_t a[4]                            in place of a's descriptor: 64 x 16 numbers in registers, each warp's 16 rows as
//                                            an A fragment of mma (tensor_core.cuh). Nobody may look at them either, or
//                                            write to them, before the product has been waited for
//   wgmma_fence(a)                           a[..][4], written to, may be read by products
//   fence_proxy_async()                      what this thread wrote to shared memory may be read by wgmma, after a barrier
//   shared_address(pointer)                  where shared memory counts it to be: eight times 128 bytes begin at 1024s
//   exp2_approx(x)                           2^x within 2^-21 of itself, by one instruction; 0 below the normal numbers
//   swizzled(byte)                           where byte `byte` of such lines lies: the 16-byte pieces of 8 x 128 bytes are
//                                            exchanged, so that neither lines nor columns meet a bank twice
//
// Layouts, descriptors and what must be waited for are those of the PTX ISA 8.4, "Asynchronous Warpgroup Level Matrix
// Instructions", with the swizzle of 128 bytes.
#pragma once

#include "common/prelude.cuh"

namespace wgmma
{
// The 64 bits of a descriptor; the type says which way the matrix lies.
struct KMajor
{
    static constexpr bool Transposed = false;
    uint64_t bits;
};

struct MnMajor
{
    static constexpr bool Transposed = true;
    uint64_t bits;
};

constexpr uint64_t Swizzle128 = uint64_t{1} << 62;

DEV uint64_t bits_of(uint32_t address, int leading, int stride)
{
    return (address & 0x3ffffu) >> 4 | static_cast<uint64_t>(leading >> 4 & 0x3fff) << 16 | static_cast<uint64_t>(stride >> 4 & 0x3fff) << 32 | Swizzle128;
}

// The same matrix so many bytes further on.
template <class Descriptor> DEV Descriptor further(Descriptor matrix, int bytes) { return {matrix.bits + static_cast<uint64_t>(bytes >> 4)}; }
}

DEV int swizzled(int byte) { return byte ^ (byte >> 7 & 7) << 4; }

#ifdef KCE_EMULATED
#include "common/wgmma_emulated.cuh"
#else
#include "common/wgmma_device.cuh"
#endif
