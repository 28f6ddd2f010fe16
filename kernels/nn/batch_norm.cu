// Batch normalisation over rows of channels, with a residual and ReLU fused.
//
//   mean_c, var_c over the rows;  r = 1 / sqrt(var + epsilon);  n = (x - mean) r
//   y = relu?(gamma n + beta + residual)
//   running += momentum ((mean, unbiased var) - running)
//
//   g = grad_y, zero where a fused ReLU gave 0;  M rows
//   grad_residual = g;  grad_beta = sum g;  grad_gamma = sum g n
//   grad_x = gamma r (g - sum g / M - n sum(g n) / M) in training, gamma r g otherwise
//       = scale g + slope (x - mean) + offset, with these three numbers per channel
//
// Layout: [rows, channels], rows being images or pixels; x, y, residual and their gradients in float32 or bfloat16, all
// else in float32. Saved for backward: x, mean, r, gamma and, with ReLU, beta or, when there was a residual, y; without one
// the ReLU's mask is computed again from x, by the same instructions.
// Digits: the mean is kept in two floats, its rounding and what that left; deviations are taken from the mean of the first
// 64 rows forward and from the mean backward, so that nothing large cancels.
// Sums: the rows are cut into stripes by the shape alone and folded in order, so that every run gives the same bits.
// Memory-bound: x is read twice forward, x and grad_y (and y) twice backward. Everything overwrites its outputs but the
// running statistics. Launched by Ops/BatchNorm.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

constexpr int Lines = 8; // of a block: each of its 32 channels has this many threads
constexpr int CenterRows = 64;

// The mean of the first rows: a center for a channel's deviations. For blocks as in column_sums.cuh.
template <class T> DEV float center_of(const T* x, int64_t rows, int channels, int channel, double (*scratch)[32])
{
    const int count = rows < CenterRows ? static_cast<int>(rows) : CenterRows;
    double sum = 0;
    for (int row = threadIdx.x / 32; row < count; row += Lines) sum += to_float(x[static_cast<int64_t>(row) * channels + channel]);
    return static_cast<float>(column_sum(sum, scratch) / count);
}

// What x goes through on its way to y.
struct Affine
{
    const float *mean, *inverse_deviation, *gamma, *beta; // [2, channels], [channels] each, the last two or null
    int channels;

    __device__ float scale(int channel) const
    {
        return gamma != nullptr ? inverse_deviation[channel] * gamma[channel] : inverse_deviation[channel];
    }
    __device__ float apply(float x, int channel) const
    {
        return fmaf(x - mean[channel] - mean[channels + channel], scale(channel), beta != nullptr ? beta[channel] : 0.0f);
    }
};

// g, grad_y where a fused ReLU let it through.
template <class T> struct Gate
{
    Affine affine;
    const T *grad_y, *x, *y; // y null: not saved
    int relu;

    __device__ float through(int64_t i, int channel) const
    {
        if (relu && !((y != nullptr ? to_float(y[i]) : affine.apply(to_float(x[i]), channel)) > 0.0f)) return 0.0f;
        return to_float(grad_y[i]);
    }
};

// Where a block of the stripe kernels stands: stripe * (groups of 32 channels) + group.
struct StripeBlock
{
    int stripe, channel, in_channel;
    int64_t first, end;

    __device__ StripeBlock(int64_t rows, int channels, int64_t rows_per_stripe)
    {
        const int groups = (channels - 1) / 32 + 1;
        stripe = blockIdx.x / groups;
        channel = blockIdx.x % groups * 32 + threadIdx.x % 32;
        in_channel = min(channel, channels - 1); // of threads past the end, which take part in the barriers only
        first = stripe * rows_per_stripe + threadIdx.x / 32;
        end = (stripe + 1) * rows_per_stripe < rows ? (stripe + 1) * rows_per_stripe : rows;
    }

    // partial[stripe, k, channel] = sums[k] of all lines.
    __device__ void store(float* partial, int channels, const double (&sums)[2], double (*scratch)[32]) const
    {
        float* to = partial + static_cast<int64_t>(stripe) * 2 * channels + in_channel;
        for (int k = 0; k < 2; k++)
        {
            const double sum = column_sum(sums[k], scratch);
            if (threadIdx.x < 32 && channel < channels) to[static_cast<int64_t>(k) * channels] = static_cast<float>(sum);
        }
    }
};

template <class T>
DEV void stripe_sums(float* partial, const T* x, int64_t rows, int channels, int64_t rows_per_stripe, double (*scratch)[32])
{
    const StripeBlock block(rows, channels, rows_per_stripe);
    const float center = center_of(x, rows, channels, block.in_channel, scratch);
    double sums[2];
    sum_strided(sums, [&](int64_t row, float (&values)[2]) {
        values[0] = to_float(x[row * channels + block.in_channel]) - center;
        values[1] = values[0] * values[0];
    }, block.first, block.end, Lines);
    block.store(partial, channels, sums, scratch);
}

// Every stripe's sums of d and d^2, d = x - center.
extern "C" __global__ void __launch_bounds__(256) batch_norm_sums(float* __restrict__ partial, // [stripes, 2, channels]
                                                                  const float* __restrict__ x, // [rows, channels]
                                                                  int64_t rows, int channels, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_sums(partial, x, rows, channels, rows_per_stripe, scratch);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_sums_bf16(float* __restrict__ partial, // [stripes, 2, channels]
                                                                       const bf16* __restrict__ x,  // [rows, channels]
                                                                       int64_t rows, int channels, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_sums(partial, x, rows, channels, rows_per_stripe, scratch);
}

template <class T>
DEV void fold_statistics(float* mean, float* inverse_deviation, float* running_mean, float* running_variance,
                         const float* partial, const T* x, float momentum, float epsilon, int stripes, int64_t rows,
                         int channels, double (*scratch)[32])
{
    const int channel = blockIdx.x * 32 + threadIdx.x % 32, in_channel = min(channel, channels - 1);
    const double sum = column_sum(fold_column(partial, in_channel, stripes, 2 * static_cast<int64_t>(channels)), scratch);
    const double squares = column_sum(fold_column(partial + channels, in_channel, stripes, 2 * static_cast<int64_t>(channels)), scratch);
    const float center = center_of(x, rows, channels, in_channel, scratch);
    if (threadIdx.x >= 32 || channel >= channels) return;
    const double offset = sum / rows, exact = center + offset;
    double variance = squares / rows - offset * offset;
    if (variance < 0) variance = 0; // rounding, of a constant channel; NaN stays NaN
    mean[channel] = static_cast<float>(exact);
    mean[channels + channel] = static_cast<float>(exact - static_cast<float>(exact));
    inverse_deviation[channel] = static_cast<float>(1 / sqrt(variance + epsilon));
    running_mean[channel] = static_cast<float>((1.0 - momentum) * running_mean[channel] + momentum * exact);
    running_variance[channel] = static_cast<float>((1.0 - momentum) * running_variance[channel] + momentum * (variance * rows / (rows - 1.0)));
}

// Folds the stripes and moves the running statistics. Grid: groups of 32 channels.
extern "C" __global__ void __launch_bounds__(256) batch_norm_statistics(float* __restrict__ mean,              // [2, channels]
                                                                        float* __restrict__ inverse_deviation, // [channels] r
                                                                        float* __restrict__ running_mean,      // [channels]
                                                                        float* __restrict__ running_variance,  // [channels]
                                                                        const float* __restrict__ partial,     // [stripes, 2, channels]
                                                                        const float* __restrict__ x,           // [rows, channels]
                                                                        float momentum, float epsilon, int stripes,
                                                                        int64_t rows, int channels)
{
    SHARED(double, scratch, [Lines][32]);
    fold_statistics(mean, inverse_deviation, running_mean, running_variance, partial, x, momentum, epsilon, stripes,
                    rows, channels, scratch);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_statistics_bf16(float* __restrict__ mean,              // [2, channels]
                                                                             float* __restrict__ inverse_deviation, // [channels] r
                                                                             float* __restrict__ running_mean,      // [channels]
                                                                             float* __restrict__ running_variance,  // [channels]
                                                                             const float* __restrict__ partial,     // [stripes, 2, channels]
                                                                             const bf16* __restrict__ x,            // [rows, channels]
                                                                             float momentum, float epsilon, int stripes,
                                                                             int64_t rows, int channels)
{
    SHARED(double, scratch, [Lines][32]);
    fold_statistics(mean, inverse_deviation, running_mean, running_variance, partial, x, momentum, epsilon, stripes,
                    rows, channels, scratch);
}

// The same numbers from the running statistics. A thread per channel.
extern "C" __global__ void __launch_bounds__(256) batch_norm_from_running(float* __restrict__ mean,                   // [2, channels]
                                                                          float* __restrict__ inverse_deviation,      // [channels]
                                                                          const float* __restrict__ running_mean,     // [channels]
                                                                          const float* __restrict__ running_variance, // [channels]
                                                                          float epsilon, int channels)
{
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    mean[channel] = running_mean[channel];
    mean[channels + channel] = 0.0f;
    inverse_deviation[channel] = static_cast<float>(1 / sqrt(static_cast<double>(running_variance[channel]) + epsilon));
}

// Calls visit(element, channel) for every (grid size)-th element of [rows, channels]; one division per thread in all.
template <class Visit> DEV void for_elements(int64_t count, int channels, const Visit& visit)
{
    int64_t i = grid_thread();
    const int channel_step = static_cast<int>(grid_threads() % channels);
    int channel = static_cast<int>(i % channels);
    for (; i < count; i += grid_threads())
    {
        visit(i, channel);
        channel += channel_step;
        if (channel >= channels) channel -= channels;
    }
}

template <class T>
DEV void normalise(T* y, const T* x, const float* mean, const float* inverse_deviation, const float* gamma,
                   const float* beta, const T* residual, int relu, int64_t count, int channels)
{
    const Affine affine = {mean, inverse_deviation, gamma, beta, channels};
    for_elements(count, channels, [&](int64_t i, int channel) {
        float value = affine.apply(to_float(x[i]), channel);
        if (residual != nullptr) value += to_float(residual[i]);
        store(y[i], relu ? max_op(value, 0.0f) : value);
    });
}

// Any grid.
extern "C" __global__ void __launch_bounds__(256) batch_norm_normalise(float* __restrict__ y,                       // [rows, channels]
                                                                       const float* __restrict__ x,                 // [rows, channels]
                                                                       const float* __restrict__ mean,              // [2, channels]
                                                                       const float* __restrict__ inverse_deviation, // [channels]
                                                                       const float* __restrict__ gamma,             // [channels] or null
                                                                       const float* __restrict__ beta,              // [channels] or null
                                                                       const float* __restrict__ residual,          // [rows, channels] or null
                                                                       int relu, int64_t count, int channels)
{
    normalise(y, x, mean, inverse_deviation, gamma, beta, residual, relu, count, channels);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_normalise_bf16(bf16* __restrict__ y,                        // [rows, channels]
                                                                            const bf16* __restrict__ x,                  // [rows, channels]
                                                                            const float* __restrict__ mean,              // [2, channels]
                                                                            const float* __restrict__ inverse_deviation, // [channels]
                                                                            const float* __restrict__ gamma,             // [channels] or null
                                                                            const float* __restrict__ beta,              // [channels] or null
                                                                            const bf16* __restrict__ residual,           // [rows, channels] or null
                                                                            int relu, int64_t count, int channels)
{
    normalise(y, x, mean, inverse_deviation, gamma, beta, residual, relu, count, channels);
}

template <class T>
DEV void stripe_grad_sums(float* partial, const T* grad_y, const T* x, const T* y, const float* mean,
                          const float* inverse_deviation, const float* gamma, const float* beta, int relu, int64_t rows,
                          int channels, int64_t rows_per_stripe, double (*scratch)[32])
{
    const StripeBlock block(rows, channels, rows_per_stripe);
    const Gate<T> gate = {{mean, inverse_deviation, gamma, beta, channels}, grad_y, x, y, relu};
    const float center = mean[block.in_channel];
    double sums[2];
    sum_strided(sums, [&](int64_t row, float (&values)[2]) {
        const int64_t i = row * channels + block.in_channel;
        values[0] = gate.through(i, block.in_channel);
        values[1] = values[0] * (to_float(x[i]) - center);
    }, block.first, block.end, Lines);
    block.store(partial, channels, sums, scratch);
}

// Every stripe's sums of g and g (x - mean), mean being the rounded one.
extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_sums(float* __restrict__ partial,                 // [stripes, 2, channels]
                                                                       const float* __restrict__ grad_y,            // [rows, channels]
                                                                       const float* __restrict__ x,                 // [rows, channels]
                                                                       const float* __restrict__ y,                 // [rows, channels] or null
                                                                       const float* __restrict__ mean,              // [2, channels]
                                                                       const float* __restrict__ inverse_deviation, // [channels]
                                                                       const float* __restrict__ gamma,             // [channels] or null
                                                                       const float* __restrict__ beta,              // [channels] or null
                                                                       int relu, int64_t rows, int channels, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_grad_sums(partial, grad_y, x, y, mean, inverse_deviation, gamma, beta, relu, rows, channels, rows_per_stripe,
                     scratch);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_sums_bf16(float* __restrict__ partial,                 // [stripes, 2, channels]
                                                                            const bf16* __restrict__ grad_y,             // [rows, channels]
                                                                            const bf16* __restrict__ x,                  // [rows, channels]
                                                                            const bf16* __restrict__ y,                  // [rows, channels] or null
                                                                            const float* __restrict__ mean,              // [2, channels]
                                                                            const float* __restrict__ inverse_deviation, // [channels]
                                                                            const float* __restrict__ gamma,             // [channels] or null
                                                                            const float* __restrict__ beta,              // [channels] or null
                                                                            int relu, int64_t rows, int channels, int64_t rows_per_stripe)
{
    SHARED(double, scratch, [Lines][32]);
    stripe_grad_sums(partial, grad_y, x, y, mean, inverse_deviation, gamma, beta, relu, rows, channels, rows_per_stripe,
                     scratch);
}

// Folds the stripes to the gradients of gamma and beta and to grad_x's three numbers. Grid: groups of 32 channels.
extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_affine(float* __restrict__ grad_gamma,              // [channels] or null
                                                                         float* __restrict__ grad_beta,               // [channels] or null
                                                                         float* __restrict__ coefficients,            // [3, channels] scale, slope, offset
                                                                         const float* __restrict__ partial,           // [stripes, 2, channels]
                                                                         const float* __restrict__ mean,              // [2, channels]
                                                                         const float* __restrict__ inverse_deviation, // [channels]
                                                                         const float* __restrict__ gamma,             // [channels] or null
                                                                         int training, int stripes, int64_t rows, int channels)
{
    SHARED(double, scratch, [Lines][32]);
    const int channel = blockIdx.x * 32 + threadIdx.x % 32, in_channel = min(channel, channels - 1);
    const double sum = column_sum(fold_column(partial, in_channel, stripes, 2 * static_cast<int64_t>(channels)), scratch);
    const double around_rounded = column_sum(fold_column(partial + channels, in_channel, stripes, 2 * static_cast<int64_t>(channels)), scratch);
    if (threadIdx.x >= 32 || channel >= channels) return;
    const double products = around_rounded - sum * mean[channels + channel];
    const double r = inverse_deviation[channel], scale = gamma != nullptr ? r * gamma[channel] : r;
    const double slope = training ? -scale * r * r * products / rows : 0;
    if (grad_gamma != nullptr) grad_gamma[channel] = static_cast<float>(products * r);
    if (grad_beta != nullptr) grad_beta[channel] = static_cast<float>(sum);
    coefficients[channel] = static_cast<float>(scale);
    coefficients[channels + channel] = static_cast<float>(slope);
    coefficients[2 * channels + channel] = training ? static_cast<float>(-scale * sum / rows - slope * mean[channels + channel]) : 0.0f;
}

template <class T>
DEV void input_gradient(T* grad_x, T* grad_residual, const T* grad_y, const T* x, const T* y, const float* coefficients,
                        const float* mean, const float* inverse_deviation, const float* gamma, const float* beta, int relu,
                        int64_t count, int channels)
{
    const Gate<T> gate = {{mean, inverse_deviation, gamma, beta, channels}, grad_y, x, y, relu};
    const float *slope = coefficients + channels, *offset = slope + channels;
    for_elements(count, channels, [&](int64_t i, int channel) {
        const float g = gate.through(i, channel);
        if (grad_residual != nullptr) store(grad_residual[i], g);
        if (grad_x != nullptr) store(grad_x[i], coefficients[channel] * g + (slope[channel] * (to_float(x[i]) - mean[channel]) + offset[channel]));
    });
}

// Any grid.
extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_x(float* __restrict__ grad_x,                  // [rows, channels] or null
                                                                    float* __restrict__ grad_residual,           // [rows, channels] or null
                                                                    const float* __restrict__ grad_y,            // [rows, channels]
                                                                    const float* __restrict__ x,                 // [rows, channels]
                                                                    const float* __restrict__ y,                 // [rows, channels] or null
                                                                    const float* __restrict__ coefficients,      // [3, channels]
                                                                    const float* __restrict__ mean,              // [2, channels]
                                                                    const float* __restrict__ inverse_deviation, // [channels]
                                                                    const float* __restrict__ gamma,             // [channels] or null
                                                                    const float* __restrict__ beta,              // [channels] or null
                                                                    int relu, int64_t count, int channels)
{
    input_gradient(grad_x, grad_residual, grad_y, x, y, coefficients, mean, inverse_deviation, gamma, beta, relu, count,
                   channels);
}

extern "C" __global__ void __launch_bounds__(256) batch_norm_grad_x_bf16(bf16* __restrict__ grad_x,                   // [rows, channels] or null
                                                                         bf16* __restrict__ grad_residual,            // [rows, channels] or null
                                                                         const bf16* __restrict__ grad_y,             // [rows, channels]
                                                                         const bf16* __restrict__ x,                  // [rows, channels]
                                                                         const bf16* __restrict__ y,                  // [rows, channels] or null
                                                                         const float* __restrict__ coefficients,      // [3, channels]
                                                                         const float* __restrict__ mean,              // [2, channels]
                                                                         const float* __restrict__ inverse_deviation, // [channels]
                                                                         const float* __restrict__ gamma,             // [channels] or null
                                                                         const float* __restrict__ beta,              // [channels] or null
                                                                         int relu, int64_t count, int channels)
{
    input_gradient(grad_x, grad_residual, grad_y, x, y, coefficients, mean, inverse_deviation, gamma, beta, relu, count,
                   channels);
}
