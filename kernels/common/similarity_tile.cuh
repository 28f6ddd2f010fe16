// A tile of the cosine-similarity matrix, for contrast/cosine_similarity.cu, where the formulas are, and for
// cosine_similarity_hopper.cu.
#pragma once

using namespace product;

struct SimilarityArguments
{
    float* similarities; // [rows, columns]
    const void* a;       // [rows, pitch]
    const void* b;       // [columns, pitch]
    int rows, columns, pitch;
    int symmetric;       // b is a
    int exchanged;       // the grid's x is rows: the other axes have 65,535 blocks at most
};

// Grid: (tiles of columns, tiles of rows), or exchanged.
template <class Number> DEV void similarities(const SimilarityArguments& p)
{
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge, Pitch = Edge + 1; // read by row and by column without conflicts
    static_assert(Edge * Pitch * static_cast<int>(sizeof(float)) <= SharedBytes<Number>, "the tile fits in the stages");
    DYN_SHARED(unsigned char, shared);
    const int row0 = (p.exchanged ? blockIdx.x : blockIdx.y) * Edge, column0 = (p.exchanged ? blockIdx.y : blockIdx.x) * Edge;
    if (p.symmetric && column0 < row0) return; // with its whole block
    const Operand<T> a = {static_cast<const T*>(p.a), p.pitch, row0, p.rows, 0};
    const Operand<T> b = {static_cast<const T*>(p.b), p.pitch, column0, p.columns, 0};
    Tile<Number> tile;
    tile.clear();
    multiply<Number, true, true>(tile, shared, a, b, 0, p.pitch);
    float* const values = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int r = 0; r < Tile<Number>::Rows; r++)
#pragma unroll
        for (int c = 0; c < Tile<Number>::Columns; c++) values[tile.row(r) * Pitch + tile.column(c)] = tile.value(r, c);
    __syncthreads(); // the whole tile is there
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows = min(Edge, p.rows - row0), columns = min(Edge, p.columns - column0);
    for (int r = warp; r < rows; r += Threads / 32)
        for (int c = lane; c < columns; c += 32) p.similarities[static_cast<int64_t>(row0 + r) * p.columns + column0 + c] = values[r * Pitch + c];
    if (!p.symmetric || row0 == column0) return;
    for (int c = warp; c < columns; c += Threads / 32)
        for (int r = lane; r < rows; r += 32) p.similarities[static_cast<int64_t>(column0 + c) * p.columns + row0 + r] = values[r * Pitch + c];
}
