// The only header a kernel includes. One kernel source compiles under nvcc and NVRTC for the device, and under g++ for
// the emulated driver; what differs between the two is here and nowhere else.
//
//   device.cuh        the device side: macros and inline PTX
//   emulated.cuh      the emulated side: the same names on bindings/emulator
//   bf16_tile.cuh     a tile of a matrix product in bfloat16, for both
//   collectives.cuh   reductions over a warp and a block, for both
//   column_sums.cuh   sums over the rows of a matrix, for both
//   conv_geometry.cuh where a convolution's numbers are
//   gemm_tile.cuh     a tile of a matrix product of float32 numbers, as they are or in TF32, for both
//   indexing.cuh      where a thread is in its grid
//   philox.cuh        random numbers by counter
//   pool_window.cuh   windows sliding over images
//   tensor_table.cuh  many tensors in one launch
//   tensor_core.cuh   bfloat16, and products of small matrices by the warp (ldmatrix, mma); use: see its head
//   product_tile.cuh  a tile of a matrix product in float32, TF32 or bfloat16
#pragma once

#ifdef KCE_EMULATED
#include "common/emulated.cuh"
#else
#include "common/device.cuh"
#endif

#include "common/collectives.cuh"
#include "common/column_sums.cuh"
#include "common/conv_geometry.cuh"
#include "common/indexing.cuh"
#include "common/philox.cuh"
#include "common/pool_window.cuh"
#include "common/tensor_core.cuh"
#include "common/gemm_tile.cuh"
#include "common/bf16_tile.cuh"
#include "common/tensor_table.cuh"
#include "common/product_tile.cuh"
