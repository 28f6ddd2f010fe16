// The contrastive losses, streaming: scores of all pairs of rows live in tiles, never as a matrix. One skeleton serves
// every kind; a kind is a rule (which columns of a row are its positives, its negatives, or neither) and a score.
//
//   s_ij = a_i . b_j                    rows prepared by contrastive_prepare: normalised or not, rounded, padded
//
//   statistics   row i:    M_i = max s_ij, S_i = sum exp((s_ij - M_i) / tau) over its negatives (LogSum, LogSumOnline)
//                          S_i = sum softplus(t_ij), M_i = sum sigmoid(t_ij),  t = s / tau + bias  (Sigmoid)
//                          and its positive's s; with many positives, their sum, and S_i over them too
//                column j: the same over rows, from the same tile (two-sided losses; a == b: the triangle's other half)
//   weights      w_ij = d loss / d (s_ij / tau), in contrastive_coefficients' units, from what contrastive_losses made:
//                  negative   exp((s_ij - m_i) / tau) scale_i + exp((s_ij - m_j) / tau) scale_j
//                  positive   offset_i + offset_j, and where there are many, the exponentials too
//                  Sigmoid    scale_i sigmoid(t_ij), for a positive scale_i (sigmoid(t_ij) - 1)
//   products     grad_a = w b and grad_b = w^T a: plain matrix products, w in the products' own number type
//
// A single positive's weight, P_ip - 1, comes as an offset that contrastive_losses forms of the negatives' share: of a pair
// that has converged little is left of that difference, and less of its digits.
//
// LogSum has m = 1: for unit rows and tau >= 0.023 exp((s - 1) / tau) cannot underflow, and one exponential serves row i
// and row j. Below, and for rows of any length, LogSumOnline keeps each row's maximum.
//
// Determinism: a block owns a square group of tiles, goes through it in order and keeps each line's results in one
// thread's hands; the groups' results are folded by contrastive_losses, first to last. No atomics.
// Work, N rows against N columns of D: 2 N^2 D operations for scores (half when a == b), as much again for the weights, and
// for each gradient. Weights are formed a stripe of rows at a time: Ops/Contrast.Cuda.cs chooses how many, and launches.
#include "common/prelude.cuh"
#include "common/contrastive_tiles.cuh"

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_f32(StatisticsArguments arguments) { statistics<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_tf32(StatisticsArguments arguments) { statistics<Tf32<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_tf32_small(StatisticsArguments arguments) { statistics<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_bf16(StatisticsArguments arguments) { statistics<BFloat16<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_bf16_small(StatisticsArguments arguments) { statistics<BFloat16<64>>(arguments); }

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_f32(WeightsArguments arguments) { weights<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_tf32(WeightsArguments arguments) { weights<Tf32<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_tf32_small(WeightsArguments arguments) { weights<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_bf16(WeightsArguments arguments) { weights<BFloat16<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_bf16_small(WeightsArguments arguments) { weights<BFloat16<64>>(arguments); }

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_f32(ProductArguments arguments) { gradient_product<Float32>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_tf32(ProductArguments arguments) { gradient_product<Tf32<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_tf32_small(ProductArguments arguments) { gradient_product<Tf32<64>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_bf16(ProductArguments arguments) { gradient_product<BFloat16<128>>(arguments); }
extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_bf16_small(ProductArguments arguments) { gradient_product<BFloat16<64>>(arguments); }

// ---- Labels ----

// counts[i] = the negatives of row i or, with Labelled, its positives. A warp per row.
extern "C" __global__ void __launch_bounds__(256) contrastive_counts(int* __restrict__ counts, // [rows]
                                                                     Scores scores)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= scores.rows) return; // with its whole warp
    const int counted = scores.positives == Labelled ? Positive : Negative;
    int count = 0;
    for (int j = lane; j < scores.columns; j += 32) count += role(scores, row, j) == counted;
    count = static_cast<int>(warp_sum(static_cast<double>(count)));
    if (lane == 0) counts[row] = count;
}
