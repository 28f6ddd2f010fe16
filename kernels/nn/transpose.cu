// y[k, j, i] = x[k, i, j], for `count` matrices.                       x: [count, rows, columns], y: [count, columns, rows]
// Its own backward pass; reshape uses it between storage orders. Saves nothing. Overwrites y.
// A block moves a tile of 32 x 32 through shared memory, so that both sides are read and written along their rows.
// Launched by Ops/Transpose.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Tile = 32;
constexpr int Threads = 256;
constexpr int Lines = Threads / Tile; // of a tile that move at once

// Grid: one block per tile, matrix by matrix, `column_tiles` to a line.
extern "C" __global__ void __launch_bounds__(Threads) transpose(float* __restrict__ y, const float* __restrict__ x, int rows,
                                                                int columns, int row_tiles, int column_tiles)
{
    SHARED(float, tile, [Tile][Tile + 1]); // one more, so that a column's elements lie in different banks
    const int across = threadIdx.x % Tile, line = threadIdx.x / Tile;
    const int64_t matrix = blockIdx.x / (static_cast<int64_t>(row_tiles) * column_tiles) * rows * columns;
    const int row0 = blockIdx.x / column_tiles % row_tiles * Tile, column0 = blockIdx.x % column_tiles * Tile;
#pragma unroll
    for (int i = line; i < Tile; i += Lines)
        if (row0 + i < rows && column0 + across < columns)
            tile[i][across] = x[matrix + static_cast<int64_t>(row0 + i) * columns + column0 + across];
    __syncthreads(); // the tile is there
#pragma unroll
    for (int j = line; j < Tile; j += Lines)
        if (column0 + j < columns && row0 + across < rows)
            y[matrix + static_cast<int64_t>(column0 + j) * rows + row0 + across] = tile[across][j];
}
