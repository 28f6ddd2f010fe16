// bfloat16 and the tensor cores: warp-wide products of small matrices, for both sides. A kernel loads fragments from
// shared memory with ldmatrix, multiplies them with mma_bf16 or mma_tf32, and finds its numbers in the accumulators
// with `fragment`:
//
//   uint32_t a[M][4], b[N / 2][4];               // fragments of M tiles of 16 rows and of N tiles of 8 columns
//   float c[M][N][4] = {};                       // accumulators: 16 M x 8 N numbers of the warp
//   for (m..) rows_a[m] = &tile_a[16 * m + fragment::a_row()][k + fragment::a_column()];
//   for (n..) rows_b[n] = &tile_b[16 * n + fragment::b_row()][k + fragment::b_column()];
//   ldmatrix_x4(a, rows_a);                      // all loads of a step in one call, all products in one call: each
//   ldmatrix_x4(b, rows_b);                      //   call is one rendezvous of the emulated driver
//   mma_bf16(c, a, b);                           // c += a b over 16 of the depth
//   c[m][n][e] is the number at row 16 m + fragment::row(e), column 8 n + fragment::column(e)
//
// Every lane of the warp takes part in ldmatrix_x4, ldmatrix_x4_trans, mma_bf16 and mma_tf32. The layouts are those of
// the PTX ISA, "Warp-level Matrix Instructions". The functions, each beside its twin:
//
//   to_bf16(x), to_float(h)                  to nearest, ties to even; NaN becomes 0x7fff
//   pack_bf16(low, high)                     two at once, `low` in the lower half
//   to_tf32(x)                               bits of x to nearest with 10 bits of fraction, ties away from zero; the
//                                            lower 13 bits are undefined, and mma_tf32 ignores them
//   ldmatrix_x4(r, row)                      four 8 x 8 matrices of 16-bit elements: lane l gives the address of row
//                                            l % 8 of matrix l / 8 (shared memory, 16-byte aligned); r[m] is of matrix
//                                            m: row l / 4, columns 2 (l % 4) and the next, the former in the lower half
//   ldmatrix_x4_trans(r, row)                the same of each matrix's transpose
//   ldmatrix_x4(r[], row[]), .._trans        several such in one call
//   mma_bf16(c, a, b)                        c[m][n] += a[m] b[n] of m16n8k16: a[m] is a row-major 16 x 16 tile; b[j]
//                                            holds two column tiles: [0], [1] those of tile 2j, [2], [3] of tile 2j + 1
//   mma_tf32(c, a, b)                        the same of m16n8k8, a tile's depth being 8 TF32 numbers. ldmatrix_x4 loads
//                                            those too, a row of a matrix then being four of them (no transpose)
#pragma once

// A bfloat16 number as it lies in memory: the upper half of a float32.
struct bf16
{
    uint16_t bits;
};

DEV float to_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
DEV float low_float(uint32_t pair) { return __uint_as_float(pair << 16); }
DEV float high_float(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

#ifdef KCE_EMULATED
#include "common/tensor_core_emulated.cuh"
#else
#include "common/tensor_core_device.cuh"
#endif

// The same for float32, so that a kernel can be a template over the type in memory; its arithmetic is float32.
DEV float to_float(float x) { return x; }
DEV void store(float& to, float value) { to = value; }
DEV void store(bf16& to, float value) { to = to_bf16(value); }

namespace fragment
{
// Whose address this lane gives to ldmatrix_x4 to load a 16 x 16 tile: A lying as [row][depth], or with
// ldmatrix_x4_trans B lying as [depth][column].
DEV int a_row() { return threadIdx.x % 16; }
DEV int a_column() { return threadIdx.x % 32 / 16 * 8; }

// The same for B lying as [column][depth], or with ldmatrix_x4_trans A lying as [depth][row].
DEV int b_row() { return threadIdx.x % 8 + threadIdx.x % 32 / 16 * 8; }
DEV int b_column() { return threadIdx.x / 8 % 2 * 8; }

// Where accumulator e of this lane lies in its 16 x 8 tile; 0 and 1, and 2 and 3, are neighbours in a row.
DEV int row(int e) { return threadIdx.x % 32 / 4 + e / 2 * 8; }
DEV int column(int e) { return threadIdx.x % 4 * 2 + e % 2; }

// Two accumulator tiles side by side, 16 x 16, as an A fragment of the next product: no lane needs another's numbers.
DEV void from_accumulators(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4])
{
    a[0] = pack_bf16(left[0], left[1]);
    a[1] = pack_bf16(left[2], left[3]);
    a[2] = pack_bf16(right[0], right[1]);
    a[3] = pack_bf16(right[2], right[3]);
}
}
