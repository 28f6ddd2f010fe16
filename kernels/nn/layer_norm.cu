// Layer normalisation of rows (Ba, Kiros, Hinton 2016).
//
// Forward:  n = (x - mean) r, r = 1 / sqrt(variance + epsilon), y = n gamma + beta      x, y: [rows, dim]
// Backward, with h = grad_y gamma:                                                      gamma, beta: [dim] or null
//   grad_x = r (h - mean_d(h) - n mean_d(h n)), grad_gamma = Sum_rows grad_y n, grad_beta = Sum_rows grad_y
//
// Saved for backward: x, gamma and statistics = [2, rows], mean then r. Overwrites its outputs. Rows have a warp each;
// the sums over rows are cut into stripes, which are folded first to last.
// Launched by Ops/LayerNorm.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;
constexpr int ColumnGroups = Threads / 32; // that share the rows of 32 columns

extern "C" __global__ void __launch_bounds__(Threads) layer_norm_forward(float* __restrict__ y,           // [rows, dim]
                                                                         float* __restrict__ statistics,  // [2, rows]
                                                                         const float* __restrict__ x,     // [rows, dim]
                                                                         const float* __restrict__ gamma, // [dim] or null
                                                                         const float* __restrict__ beta,  // [dim] or null
                                                                         float epsilon, int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* from = x + row * dim;
    float* to = y + row * dim;

    // Around the first element, so that a large common offset does not cancel.
    const float first = from[0];
    float sum = 0.0f, squares = 0.0f;
    for (int d = lane; d < dim; d += 32) sum += from[d] - first;
    const float mean = first + warp_sum(sum) / dim;
    for (int d = lane; d < dim; d += 32)
    {
        const float deviation = from[d] - mean;
        squares += deviation * deviation;
    }
    const float inverse = 1.0f / sqrtf(warp_sum(squares) / dim + epsilon);
    for (int d = lane; d < dim; d += 32)
    {
        float value = (from[d] - mean) * inverse;
        if (gamma) value *= gamma[d];
        if (beta) value += beta[d];
        to[d] = value;
    }
    if (lane != 0) return;
    statistics[row] = mean;
    statistics[rows + row] = inverse;
}

extern "C" __global__ void __launch_bounds__(Threads) layer_norm_grad_x(float* __restrict__ grad_x,           // [rows, dim]
                                                                        const float* __restrict__ grad_y,     // [rows, dim]
                                                                        const float* __restrict__ x,          // [rows, dim]
                                                                        const float* __restrict__ gamma,      // [dim] or null
                                                                        const float* __restrict__ statistics, // [2, rows]
                                                                        int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* from = x + row * dim;
    const float* grad_out = grad_y + row * dim;
    float* to = grad_x + row * dim;
    const float mean = statistics[row], inverse = statistics[rows + row];

    float sum = 0.0f, along = 0.0f;
    for (int d = lane; d < dim; d += 32)
    {
        const float h = gamma ? grad_out[d] * gamma[d] : grad_out[d];
        sum += h;
        along += h * ((from[d] - mean) * inverse);
    }
    const float mean_h = warp_sum(sum) / dim, mean_along = warp_sum(along) / dim;
    for (int d = lane; d < dim; d += 32)
    {
        const float h = gamma ? grad_out[d] * gamma[d] : grad_out[d];
        to[d] = inverse * (h - mean_h - (from[d] - mean) * inverse * mean_along);
    }
}

// Every stripe's part of grad_gamma and grad_beta. Grid: (dim / 32, stripes).
extern "C" __global__ void __launch_bounds__(Threads) layer_norm_grad_affine(float* __restrict__ partial,          // [stripes, 2, dim]
                                                                             const float* __restrict__ grad_y,     // [rows, dim]
                                                                             const float* __restrict__ x,          // [rows, dim]
                                                                             const float* __restrict__ statistics, // [2, rows]
                                                                             int rows, int dim, int rows_per_stripe)
{
    SHARED(float, gamma_sums, [ColumnGroups][32]);
    SHARED(float, beta_sums, [ColumnGroups][32]);
    const int lane = threadIdx.x % 32, group = threadIdx.x / 32, d = blockIdx.x * 32 + lane;
    const int start = blockIdx.y * rows_per_stripe, end = min(rows, start + rows_per_stripe);
    float gamma_sum = 0.0f, beta_sum = 0.0f;
    if (d < dim)
        for (int row = start + group; row < end; row += ColumnGroups)
        {
            const int64_t at = static_cast<int64_t>(row) * dim + d;
            gamma_sum += grad_y[at] * ((x[at] - statistics[row]) * statistics[static_cast<int64_t>(rows) + row]);
            beta_sum += grad_y[at];
        }
    gamma_sums[group][lane] = gamma_sum;
    beta_sums[group][lane] = beta_sum;
    __syncthreads(); // every group's sums are there
    if (group != 0 || d >= dim) return;
    for (int g = 1; g < ColumnGroups; g++)
    {
        gamma_sum += gamma_sums[g][lane];
        beta_sum += beta_sums[g][lane];
    }
    float* to = partial + static_cast<int64_t>(blockIdx.y) * 2 * dim;
    to[d] = gamma_sum;
    to[dim + d] = beta_sum;
}

// Folds the stripes. Any grid.
extern "C" __global__ void __launch_bounds__(Threads) layer_norm_fold_affine(float* __restrict__ grad_gamma,    // [dim] or null
                                                                             float* __restrict__ grad_beta,     // [dim] or null
                                                                             const float* __restrict__ partial, // [stripes, 2, dim]
                                                                             int dim, int stripes)
{
    for (int64_t d = grid_thread(); d < dim; d += grid_threads())
    {
        double gamma_sum = 0, beta_sum = 0;
        for (int64_t s = 0; s < stripes; s++)
        {
            gamma_sum += partial[s * 2 * dim + d];
            beta_sum += partial[(s * 2 + 1) * dim + d];
        }
        if (grad_gamma) grad_gamma[d] = static_cast<float>(gamma_sum);
        if (grad_beta) grad_beta[d] = static_cast<float>(beta_sum);
    }
}
