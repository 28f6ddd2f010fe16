// The cosine-similarity matrix: normalise and multiply, on the contrastive losses' tiles.
//
//   forward    s_ij = a_i . b_j                    a, b: rows prepared by contrastive_prepare: normalised, rounded, padded
//   backward   grad_a = G b, grad_b = G^T a        plain products by contrastive_product_*, G made ready here
//              grad_h = (g - z (z . g)) / |h|      through the norm, by contrastive_gradient
//
// Saved: the prepared rows and 1 / |h|. When b is a, tiles above the diagonal are formed once and written twice, and the
// backward is one product, (G + G^T) a. G is made ready a stripe of rows at a time.
// Work: 2 rows columns dim operations forward (half when b is a), twice that backward. The matrix goes through shared
// memory, so that it is written by whole rows. Everything overwrites its outputs. Launched by Ops/CosineSimilarity.Cuda.cs.
#include "common/prelude.cuh"

using namespace product;

struct SimilarityArguments
{
    float* similarities; // [rows, columns]
    const void* a;       // [rows, pitch]
    const void* b;       // [columns, pitch]
    int rows, columns, pitch;
    int symmetric;       // b is a
};

// Grid: (tiles of columns, tiles of rows).
template <class Number> DEV void similarities(const SimilarityArguments& p)
{
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge, Side = Tile<Number>::Side, Pitch = Edge + 1; // read by row and by column without conflicts
    static_assert(Edge * Pitch * static_cast<int>(sizeof(float)) <= SharedBytes<Number>, "the tile fits in the stages");
    DYN_SHARED(unsigned char, shared);
    const int row0 = blockIdx.y * Edge, column0 = blockIdx.x * Edge;
    if (p.symmetric && column0 < row0) return; // with its whole block
    const Operand<T> a = {static_cast<const T*>(p.a), p.pitch, row0, p.rows, 0};
    const Operand<T> b = {static_cast<const T*>(p.b), p.pitch, column0, p.columns, 0};
    Tile<Number> tile;
    tile.clear();
    multiply<Number, true, true>(tile, shared, a, b, 0, p.pitch);
    float* const values = reinterpret_cast<float*>(shared);
#pragma unroll
    for (int r = 0; r < Side; r++)
#pragma unroll
        for (int c = 0; c < Side; c++) values[tile.row(r) * Pitch + tile.column(c)] = tile.value(r, c);
    __syncthreads(); // the whole tile is there
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows = min(Edge, p.rows - row0), columns = min(Edge, p.columns - column0);
    for (int r = warp; r < rows; r += Threads / 32)
        for (int c = lane; c < columns; c += 32) p.similarities[static_cast<int64_t>(row0 + r) * p.columns + column0 + c] = values[r * Pitch + c];
    if (!p.symmetric || row0 == column0) return;
    for (int c = warp; c < columns; c += Threads / 32)
        for (int r = lane; r < rows; r += 32) p.similarities[static_cast<int64_t>(column0 + c) * p.columns + row0 + r] = values[r * Pitch + c];
}

extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_f32(SimilarityArguments arguments) { similarities<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_tf32(SimilarityArguments arguments) { similarities<Tf32<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_tf32_small(SimilarityArguments arguments) { similarities<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_bf16(SimilarityArguments arguments) { similarities<BFloat16<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_bf16_small(SimilarityArguments arguments) { similarities<BFloat16<64>>(arguments); }

// ---- Backward ----

struct UpstreamArguments
{
    void* weights;              // [whole tiles of the stripe's rows, weights_pitch], zeros where there is no pair
    const float* grad;          // [rows, columns], G
    int64_t weights_pitch;
    int rows, columns, first_row;
    int symmetric;              // G + G^T rather than G
};

// Grid: (weights_pitch / 32, rows of the stripe / 32), blocks of 32 x 8.
template <class Number> DEV void upstream(const UpstreamArguments& p)
{
    SHARED(float, mirrored, [32][33]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int stripe_row0 = blockIdx.y * 32, row0 = p.first_row + stripe_row0, column0 = blockIdx.x * 32;
    auto grad = [&](int i, int j) { return i < p.rows && j < p.columns ? p.grad[static_cast<int64_t>(i) * p.columns + j] : 0.0f; };
    if (p.symmetric)
    {
        for (int c = warp; c < 32; c += 8) mirrored[c][lane] = grad(column0 + c, row0 + lane);
        __syncthreads(); // the transposed part is there
    }
    auto* const weights = static_cast<typename Number::Type*>(p.weights);
    for (int r = warp; r < 32; r += 8)
    {
        float g = grad(row0 + r, column0 + lane);
        if (p.symmetric) g += mirrored[lane][r];
        round_to(weights[(stripe_row0 + r) * p.weights_pitch + column0 + lane], g, Number());
    }
}

extern "C" __global__ void __launch_bounds__(256) cosine_similarity_upstream_f32(UpstreamArguments arguments) { upstream<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256) cosine_similarity_upstream_tf32(UpstreamArguments arguments) { upstream<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256) cosine_similarity_upstream_bf16(UpstreamArguments arguments) { upstream<BFloat16<64>>(arguments); }
