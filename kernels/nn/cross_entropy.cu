// Softmax cross-entropy with whole-number labels, in nats.
//
// Forward:  lse_n = log Sum_k exp x_nk, loss = mean_n (lse_n - x[n, label_n])     x: [rows, classes], label: [rows]
// Backward: grad_x_nk = (exp(x_nk - lse_n) - [k = label_n]) grad_loss / rows
//
// Saved for backward: x, the labels and lse. Overwrites its outputs. A warp per row, eight rows per block; the mean is
// taken by one block in double precision, in an order that depends on the rows alone.
// Launched by Ops/CrossEntropy.Cuda.cs, after find_outside (find_outside.cu) found no bad label.
#include "common/prelude.cuh"

constexpr int Threads = 256;

extern "C" __global__ void __launch_bounds__(Threads) cross_entropy_log_sum_exp(float* __restrict__ log_sum_exp,  // [rows]
                                                                                const float* __restrict__ logits, // [rows, classes]
                                                                                int rows, int classes)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* x = logits + row * classes;
    float maximum = -INFINITY;
    for (int k = lane; k < classes; k += 32) maximum = max_op(maximum, x[k]);
    maximum = warp_max(maximum);
    float sum = 0.0f;
    for (int k = lane; k < classes; k += 32) sum += expf(x[k] - maximum);
    sum = warp_sum(sum);
    if (lane == 0) log_sum_exp[row] = maximum + logf(sum);
}

// One block.
extern "C" __global__ void __launch_bounds__(Threads) cross_entropy_mean(float* __restrict__ loss,              // []
                                                                         const float* __restrict__ log_sum_exp, // [rows]
                                                                         const float* __restrict__ logits,      // [rows, classes]
                                                                         const int* __restrict__ labels,        // [rows]
                                                                         int rows, int classes)
{
    SHARED(double, scratch, [Threads / 32]);
    double sum = 0;
    for (int row = threadIdx.x; row < rows; row += Threads)
        sum += static_cast<double>(log_sum_exp[row]) - logits[static_cast<int64_t>(row) * classes + labels[row]];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) loss[0] = static_cast<float>(sum / rows);
}

extern "C" __global__ void __launch_bounds__(Threads) cross_entropy_backward(float* __restrict__ grad_logits,       // [rows, classes]
                                                                             const float* __restrict__ grad_loss,   // []
                                                                             const float* __restrict__ logits,      // [rows, classes]
                                                                             const int* __restrict__ labels,        // [rows]
                                                                             const float* __restrict__ log_sum_exp, // [rows]
                                                                             int rows, int classes)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* x = logits + row * classes;
    float* to = grad_logits + row * classes;
    const float scale = grad_loss[0] / rows, shift = log_sum_exp[row];
    const int label = labels[row];
    for (int k = lane; k < classes; k += 32) to[k] = (expf(x[k] - shift) - (k == label ? 1.0f : 0.0f)) * scale;
}
