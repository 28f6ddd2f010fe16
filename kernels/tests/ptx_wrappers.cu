// One kernel per PTX wrapper and warp collective of the prelude, so that each can be compared bit by bit between the
// emulated driver and a GPU. Launched by tests/KernelContrast.Tests/PtxWrapperTests.cs, with one warp. Nothing else uses
// this module.
#include "common/prelude.cuh"

// y[i] = bits of x[i] as bfloat16.
// No tensor cores: it converts.
extern "C" __global__ void __launch_bounds__(32) ptx_to_bf16(uint32_t* __restrict__ y,    // [count]
                                                             const float* __restrict__ x, // [count]
                                                             int count)
{
    for (int i = threadIdx.x; i < count; i += 32) y[i] = to_bf16(x[i]).bits;
}

// The floats of the two bfloat16 in each word of x, as halves of the word and as numbers in memory.
extern "C" __global__ void __launch_bounds__(32) ptx_to_float(uint32_t* __restrict__ y,       // [words][4]
                                                              const uint32_t* __restrict__ x, // [words]
                                                              int words)
{
    const bf16* each = reinterpret_cast<const bf16*>(x);
    for (int i = threadIdx.x; i < words; i += 32)
    {
        y[4 * i] = __float_as_uint(low_float(x[i]));
        y[4 * i + 1] = __float_as_uint(high_float(x[i]));
        y[4 * i + 2] = __float_as_uint(to_float(each[2 * i]));
        y[4 * i + 3] = __float_as_uint(to_float(each[2 * i + 1]));
    }
}

// No tensor cores: it converts.
extern "C" __global__ void __launch_bounds__(32) ptx_pack_bf16(uint32_t* __restrict__ y,    // [count]
                                                               const float* __restrict__ x, // [2 * count]
                                                               int count)
{
    for (int i = threadIdx.x; i < count; i += 32) y[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
}

// The lower 13 bits, which are undefined, are cleared.
// No tensor cores: it converts.
extern "C" __global__ void __launch_bounds__(32) ptx_to_tf32(uint32_t* __restrict__ y,    // [count]
                                                             const float* __restrict__ x, // [count]
                                                             int count)
{
    for (int i = threadIdx.x; i < count; i += 32) y[i] = to_tf32(x[i]) & 0xffffe000u;
}

// Two loads of four matrices: matrix m of load i is rows 8 m .. 8 m + 7 of x, columns 8 i .. 8 i + 7.
extern "C" __global__ void __launch_bounds__(32) ptx_ldmatrix(uint32_t* __restrict__ y,       // [32 lanes][2 + 1][4]
                                                              const uint32_t* __restrict__ x) // [32][16] of 16 bits
{
    SHARED(uint32_t, tile, [32][8]);
    for (int i = threadIdx.x; i < 256; i += 32) tile[i / 8][i % 8] = x[i];
    __syncwarp(); // other lanes' words are there
    const uint32_t* rows[2] = {tile[threadIdx.x], tile[threadIdx.x] + 4};
    uint32_t both[2][4], one[4];
    ldmatrix_x4(both, rows);
    ldmatrix_x4(one, rows[1]);
    for (int r = 0; r < 4; r++)
    {
        y[12 * threadIdx.x + r] = both[0][r];
        y[12 * threadIdx.x + 4 + r] = both[1][r];
        y[12 * threadIdx.x + 8 + r] = one[r];
    }
}

// The same with each matrix transposed.
extern "C" __global__ void __launch_bounds__(32) ptx_ldmatrix_trans(uint32_t* __restrict__ y,       // [32 lanes][2 + 1][4]
                                                                    const uint32_t* __restrict__ x) // [32][16] of 16 bits
{
    SHARED(uint32_t, tile, [32][8]);
    for (int i = threadIdx.x; i < 256; i += 32) tile[i / 8][i % 8] = x[i];
    __syncwarp(); // other lanes' words are there
    const uint32_t* rows[2] = {tile[threadIdx.x], tile[threadIdx.x] + 4};
    uint32_t both[2][4], one[4];
    ldmatrix_x4_trans(both, rows);
    ldmatrix_x4_trans(one, rows[1]);
    for (int r = 0; r < 4; r++)
    {
        y[12 * threadIdx.x + r] = both[0][r];
        y[12 * threadIdx.x + 4 + r] = both[1][r];
        y[12 * threadIdx.x + 8 + r] = one[r];
    }
}

// c += a b from registers as they are: two row tiles by four column tiles.
extern "C" __global__ void __launch_bounds__(32) ptx_mma_bf16(float* __restrict__ c,          // [32 lanes][2][4][4]
                                                              const uint32_t* __restrict__ a, // [32 lanes][2][4]
                                                              const uint32_t* __restrict__ b) // [32 lanes][2][4]
{
    float sums[2][4][4];
    uint32_t rows[2][4], columns[2][4];
    for (int i = 0; i < 32; i++) (&sums[0][0][0])[i] = c[32 * threadIdx.x + i];
    for (int i = 0; i < 8; i++) (&rows[0][0])[i] = a[8 * threadIdx.x + i];
    for (int i = 0; i < 8; i++) (&columns[0][0])[i] = b[8 * threadIdx.x + i];
    mma_bf16(sums, rows, columns);
    for (int i = 0; i < 32; i++) c[32 * threadIdx.x + i] = (&sums[0][0][0])[i];
}

extern "C" __global__ void __launch_bounds__(32) ptx_mma_tf32(float* __restrict__ c,          // [32 lanes][2][4][4]
                                                              const uint32_t* __restrict__ a, // [32 lanes][2][4]
                                                              const uint32_t* __restrict__ b) // [32 lanes][2][4]
{
    float sums[2][4][4];
    uint32_t rows[2][4], columns[2][4];
    for (int i = 0; i < 32; i++) (&sums[0][0][0])[i] = c[32 * threadIdx.x + i];
    for (int i = 0; i < 8; i++) (&rows[0][0])[i] = a[8 * threadIdx.x + i];
    for (int i = 0; i < 8; i++) (&columns[0][0])[i] = b[8 * threadIdx.x + i];
    mma_tf32(sums, rows, columns);
    for (int i = 0; i < 32; i++) c[32 * threadIdx.x + i] = (&sums[0][0][0])[i];
}

// c = a b of 16 x 16 matrices through the places that `fragment` names. The operands lie as their names say; the third
// product takes the first's result as its A.
extern "C" __global__ void __launch_bounds__(32) ptx_fragment(float* __restrict__ c,                       // [3][16][16]
                                                              const uint32_t* __restrict__ a_row_depth,    // [16][16] bf16
                                                              const uint32_t* __restrict__ a_depth_row,    // [16][16]
                                                              const uint32_t* __restrict__ b_column_depth, // [16][16]
                                                              const uint32_t* __restrict__ b_depth_column) // [16][16]
{
    SHARED(uint32_t, tiles, [4][16][8]);
    for (int i = threadIdx.x; i < 128; i += 32)
    {
        tiles[0][i / 8][i % 8] = a_row_depth[i];
        tiles[1][i / 8][i % 8] = a_depth_row[i];
        tiles[2][i / 8][i % 8] = b_column_depth[i];
        tiles[3][i / 8][i % 8] = b_depth_column[i];
    }
    __syncwarp(); // other lanes' words are there
    uint32_t a[1][4], b[1][4];
    float sums[3][1][2][4] = {};
    ldmatrix_x4(a[0], &tiles[0][fragment::a_row()][fragment::a_column() / 2]);
    ldmatrix_x4(b[0], &tiles[2][fragment::b_row()][fragment::b_column() / 2]);
    mma_bf16(sums[0], a, b);
    ldmatrix_x4_trans(a[0], &tiles[1][fragment::b_row()][fragment::b_column() / 2]);
    ldmatrix_x4_trans(b[0], &tiles[3][fragment::a_row()][fragment::a_column() / 2]);
    mma_bf16(sums[1], a, b);
    fragment::from_accumulators(a[0], sums[0][0][0], sums[0][0][1]);
    mma_bf16(sums[2], a, b);
    for (int i = 0; i < 3; i++)
        for (int n = 0; n < 2; n++)
            for (int e = 0; e < 4; e++) c[256 * i + 16 * fragment::row(e) + 8 * n + fragment::column(e)] = sums[i][0][n][e];
}

// Copies x to y through shared memory, zeros where `present` is 0, of the second group so many numbers as it says; each lane
// reads what another copied.
extern "C" __global__ void __launch_bounds__(32) ptx_cp_async(uint32_t* __restrict__ y,            // [2][32 lanes][4]
                                                              const uint32_t* __restrict__ x,      // [2][32 lanes][4]
                                                              const uint32_t* __restrict__ present) // [2][32 lanes]
{
    SHARED(uint32_t, tile, [2][32][4]);
    for (int i = 0; i < 2; i++)
    {
        const uint32_t here = present[32 * i + threadIdx.x];
        const uint32_t* from = x + 128 * i + 4 * threadIdx.x;
        if (i == 0) cp_async16(tile[i][threadIdx.x], from, here != 0);
        else cp_async16_of(tile[i][threadIdx.x], from, static_cast<int>(4 * here));
        cp_async_commit();
    }
    cp_async_wait<1>();
    __syncwarp(); // the first group of every lane is there
    for (int r = 0; r < 4; r++) y[4 * threadIdx.x + r] = tile[0][(threadIdx.x + 1) % 32][r];
    cp_async_wait<0>();
    __syncwarp(); // and the second
    for (int r = 0; r < 4; r++) y[128 + 4 * threadIdx.x + r] = tile[1][(threadIdx.x + 1) % 32][r];
}

// Sums by butterfly, whose rounding depends on the order; maxima; votes and exchanges.
extern "C" __global__ void __launch_bounds__(32) ptx_collectives(uint32_t* __restrict__ y,    // [6][32 lanes]
                                                                 const float* __restrict__ x) // [32]
{
    const float mine = x[threadIdx.x];
    const int lane = threadIdx.x;
    y[lane] = __float_as_uint(warp_sum(mine));
    y[32 + lane] = __float_as_uint(warp_sum<8>(mine));
    y[64 + lane] = __float_as_uint(warp_max(mine));
    y[96 + lane] = __ballot_sync(0xffffffffu, mine > 0.0f);
    y[128 + lane] = __float_as_uint(__shfl_sync(0xffffffffu, mine, (5 * lane + 3) % 32));
    y[160 + lane] = __float_as_uint(__shfl_xor_sync(0xffffffffu, mine, 9));
}
