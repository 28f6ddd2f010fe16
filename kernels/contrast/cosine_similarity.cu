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
#include "common/similarity_tile.cuh"

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
// No tensor cores: the products are those of contrastive.cu.
extern "C" __global__ void __launch_bounds__(256) cosine_similarity_upstream_tf32(UpstreamArguments arguments) { upstream<Tf32<64>>(arguments); }
// No tensor cores: the products are those of contrastive.cu.
extern "C" __global__ void __launch_bounds__(256) cosine_similarity_upstream_bf16(UpstreamArguments arguments) { upstream<BFloat16<64>>(arguments); }
