// The contrastive losses' kernels that go by rows, before and after the tiles of contrastive.cu, whose head says what m,
// scale and offset are for. Row i's negatives sum to N_i = sum exp((s_ij - m_i) / tau), its positive has e_i likewise.
//
//   kind                    loss of row i                           scale_i            offset_i
//   single positive         log((e_i + N_i) / e_i)                  1 / (e_i + N_i)    -N_i / (e_i + N_i)
//   apart from the sum      log(N_i / e_i)                          1 / N_i            -1                    (DCL)
//   by label                log(N_i) - mean over P_i of s_ip / tau  1 / N_i            -1 / |P_i|            (N_i over all)
//   two-sided               half of each side's                     half               half
//   sigmoid                 softplus(-t_i) + sum softplus(t_ij)     1                  d loss_i / d bias
//
// times the row's upstream gradient, in contrastive_coefficients. A row that does not count has loss, scale and offset 0.
// Where every similarity of a row is near -1, scale reaches 7e37, which times that gradient need not be a float. So from
// there to the last kernels gradients are in units of their own: of the one that all rows have, or a power of two near
// the largest. Backward through the norm: grad_h = unit (g - z (z . g)) / |h|, g = 1/tau sum_j w_ij b_j.
// Launched by Ops/Contrast.Cuda.cs. Everything overwrites its outputs.
#include "common/prelude.cuh"

constexpr int Threads = 256;
constexpr int RowsPerBlock = Threads / 32; // of the kernels that give each row a warp
constexpr float LargestFloat = 3.402823466e38f;

// A factor of gradients: infinite, it becomes the largest double, so that what is 0 stays 0. NaN stays.
DEV double bounded(double factor)
{
    constexpr double Largest = 1.7976931348623157e308;
    return factor > Largest ? Largest : factor < -Largest ? -Largest : factor;
}

enum Score
{
    LogSum,
    LogSumOnline,
    Sigmoid,
};

enum Precision
{
    InFloat32,
    InTf32,
    InBFloat16,
};

DEV void store_rounded(void* to, int64_t at, float x, int precision)
{
    if (precision == InBFloat16) static_cast<bf16*>(to)[at] = to_bf16(x);
    else static_cast<float*>(to)[at] = precision == InTf32 ? __uint_as_float(to_tf32(x) & 0xffffe000u) : x;
}

DEV float load_rounded(const void* from, int64_t at, int precision)
{
    return precision == InBFloat16 ? to_float(static_cast<const bf16*>(from)[at]) : static_cast<const float*>(from)[at];
}

struct PrepareArguments
{
    void* z;                     // [rows, pitch], rounded to the precision, zeros from dim on
    float* inverse_norm;         // [rows] or null
    float* scalars;              // [2] 1 / tau and bias, or null: they are there already
    const void* h;               // [rows, stride], float or bf16
    const float* temperature_at; // [1] or null: `temperature` holds
    const float* bias_at;
    int64_t stride;
    float temperature, bias;
    int rows, dim, pitch, normalize, precision, from_bf16;
};

// z = h / |h| and inverse_norm = 1 / |h|, but at most the largest float, and 0 for an all-zero row; or z = h. The row is
// divided by its greatest magnitude first, so that no square over- or underflows. A warp per row.
extern "C" __global__ void __launch_bounds__(Threads) contrastive_prepare(PrepareArguments p)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * RowsPerBlock + threadIdx.x / 32;
    if (p.scalars && blockIdx.x == 0 && threadIdx.x == 0)
    {
        p.scalars[0] = 1.0f / (p.temperature_at ? *p.temperature_at : p.temperature);
        p.scalars[1] = p.bias_at ? *p.bias_at : p.bias;
    }
    if (row >= p.rows) return; // with its whole warp
    const int64_t from = row * p.stride;
    const int stored = p.from_bf16 ? InBFloat16 : InFloat32;
    // Infinity becomes NaN: a similarity of -infinity would be left out of the sums as a pair that is none.
    auto h = [&](int d)
    {
        const float x = load_rounded(p.h, from + d, stored);
        return x + (x - x);
    };
    const int64_t to = static_cast<int64_t>(row) * p.pitch;
    for (int d = p.dim + lane; d < p.pitch; d += 32) store_rounded(p.z, to + d, 0.0f, p.precision);

    float largest = 1.0f, scaled_norm = 1.0f;
    if (p.normalize)
    {
        largest = 0.0f;
        for (int d = lane; d < p.dim; d += 32) largest = max_op(largest, fabsf(h(d)));
        largest = warp_max(largest);
        float squares = 0.0f;
        for (int d = lane; d < p.dim; d += 32)
        {
            const float scaled = largest == 0.0f ? 0.0f : h(d) / largest;
            squares += scaled * scaled;
        }
        scaled_norm = sqrtf(warp_sum(squares)); // between 1 and sqrt(dim), or 0
    }
    for (int d = lane; d < p.dim; d += 32) store_rounded(p.z, to + d, largest == 0.0f ? 0.0f : h(d) / largest / scaled_norm, p.precision);
    if (lane != 0 || !p.inverse_norm) return;
    const float inverse = 1.0f / scaled_norm / largest;
    p.inverse_norm[row] = largest == 0.0f ? 0.0f : inverse > LargestFloat ? LargestFloat : inverse;
}

// ---- Forward ----

// Partial results of one side's lines, as contrastive_statistics leaves them.
struct Partials
{
    const float* maximum;    // [groups, lines] or null
    const float* sum;        // [groups, lines]
    const double* positives; // [groups, lines] or null
};

struct LossesArguments
{
    float* losses;        // [rows]
    float* row_shift;     // [rows]
    float* row_scale;     // [rows]
    float* row_offset;    // [rows]
    float* column_shift;  // [rows], two-sided only
    float* column_scale;  // [rows]
    float* column_offset; // [rows]
    Partials row_partials, column_partials;
    const float* positive;  // [rows] s of the single positive
    const int* counts;      // [rows] or null: with none left the row does not count
    const float* scalars;   // [2]
    int rows, row_groups, column_groups;
    int group_lines, edge;  // lines of a group, and of a tile
    int score, symmetric, two_sided, labelled, positive_apart;
};

struct Sum
{
    float maximum, sum;
    double positives;
};

DEV float relative_to(float maximum, const Sum& x, float inv_temperature)
{
    return x.maximum == maximum ? x.sum : x.sum * expf((x.maximum - maximum) * inv_temperature);
}

DEV void add(Sum& x, const Partials& partials, int64_t at, int score, float inv_temperature)
{
    const Sum y = {partials.maximum ? partials.maximum[at] : 0.0f, partials.sum[at], partials.positives ? partials.positives[at] : 0.0};
    x.positives += y.positives;
    if (score != LogSumOnline)
    {
        x.maximum += y.maximum;
        x.sum += y.sum;
        return;
    }
    const float maximum = max_op(x.maximum, y.maximum);
    x.sum = relative_to(maximum, x, inv_temperature) + relative_to(maximum, y, inv_temperature);
    x.maximum = maximum;
}

struct LineResult
{
    float loss, shift, scale, offset;
};

DEV LineResult of_line(const LossesArguments& p, const Sum& negatives, float positive, int count, float inv_temperature)
{
    if (p.counts && count == 0) return {0.0f, INFINITY, 0.0f, 0.0f}; // exp((s - shift) / tau) is 0 then, not infinite
    const bool in_sum = !p.labelled && !p.positive_apart;
    float m = 1.0f;
    if (p.score == LogSumOnline)
    {
        m = in_sum ? max_op(negatives.maximum, positive) : negatives.maximum;
        if (m == -INFINITY) m = 0.0f;
    }
    const float sum_negatives = negatives.sum == 0.0f ? 0.0f : relative_to(p.score == LogSumOnline ? m : negatives.maximum, negatives, inv_temperature);
    if (p.labelled)
        return {logf(sum_negatives) - static_cast<float>((negatives.positives / count - m) * inv_temperature), m, 1.0f / sum_negatives, -1.0f / count};
    const float logit = (positive - m) * inv_temperature;
    if (p.positive_apart) return {logf(sum_negatives) - logit, m, 1.0f / sum_negatives, -1.0f};
    const float e = expf(logit), sum = e + sum_negatives, ratio = sum_negatives / e;
    // Once the positive outweighs the negatives, log1p keeps the digits of what is left.
    return {ratio < 1.0f ? log1pf(ratio) : logf(sum) - logit, m, 1.0f / sum, -sum_negatives / sum};
}

// Folds the groups, first to last. A thread per row.
extern "C" __global__ void __launch_bounds__(Threads, 4) contrastive_losses(LossesArguments p)
{
    const int i = blockIdx.x * Threads + threadIdx.x;
    if (i >= p.rows) return;
    const float inv_temperature = p.scalars[0];
    const float none = p.score == LogSumOnline ? -INFINITY : 0.0f;
    // The triangle's groups left of row i's are those above it, as columns: their results are in the column's partials. Of
    // its own group the first tile has nothing above it.
    const int own = p.symmetric ? i / p.group_lines : 0;
    const int above = !p.symmetric ? 0 : i / p.edge * p.edge == own * p.group_lines ? own : own + 1;
    Sum row = {none, 0.0f, 0.0};
    for (int g = 0; g < above; g++) add(row, p.column_partials, static_cast<int64_t>(g) * p.rows + i, p.score, inv_temperature);
    for (int g = own; g < p.column_groups; g++) add(row, p.row_partials, static_cast<int64_t>(g) * p.rows + i, p.score, inv_temperature);
    const int count = p.counts ? p.counts[i] : 1;
    const float positive = p.labelled ? 0.0f : p.positive[i];

    if (p.score == Sigmoid)
    {
        const float t = positive * inv_temperature + p.scalars[1];
        const float loss = (t < 0.0f ? -t : 0.0f) + log1pf(expf(-fabsf(t))) + (t - t) + row.sum;
        p.losses[i] = count == 0 ? 0.0f : loss;
        p.row_scale[i] = count == 0 ? 0.0f : 1.0f;
        p.row_offset[i] = count == 0 ? 0.0f : row.maximum - 1.0f / (1.0f + expf(t));
        return;
    }
    LineResult result = of_line(p, row, positive, count, inv_temperature);
    if (p.two_sided)
    {
        Sum column = {none, 0.0f, 0.0};
        for (int g = 0; g < p.row_groups; g++) add(column, p.column_partials, static_cast<int64_t>(g) * p.rows + i, p.score, inv_temperature);
        const LineResult other = of_line(p, column, positive, count, inv_temperature);
        p.column_shift[i] = other.shift;
        p.column_scale[i] = 0.5f * other.scale;
        p.column_offset[i] = 0.5f * other.offset;
        result = {0.5f * (result.loss + other.loss), result.shift, 0.5f * result.scale, 0.5f * result.offset};
    }
    p.losses[i] = result.loss;
    p.row_shift[i] = result.shift;
    p.row_scale[i] = result.scale;
    p.row_offset[i] = result.offset;
}

// loss = the losses' sum or, with `mean`, that over the rows that count; counted = their number, 1 if there is none. In
// double precision. One block.
extern "C" __global__ void __launch_bounds__(Threads) contrastive_reduce(float* __restrict__ loss,         // [] or null
                                                                         float* __restrict__ counted,      // []
                                                                         const float* __restrict__ losses, // [rows]
                                                                         const int* __restrict__ counts,   // [rows] or null
                                                                         int rows, int mean)
{
    SHARED(double, scratch, [Threads / 32]);
    double total = 0, number = 0;
    for (int i = threadIdx.x; i < rows; i += Threads)
    {
        total += losses[i];
        number += !counts || counts[i] > 0;
    }
    total = block_sum(total, scratch);
    number = block_sum(number, scratch);
    if (number == 0) number = 1;
    if (threadIdx.x != 0) return;
    counted[0] = static_cast<float>(number);
    if (loss) loss[0] = static_cast<float>(mean ? total / number : total);
}

// ---- Backward ----

// How the gradient of the loss reaches the rows: Losses/Reduction.
enum Reduction
{
    Mean,
    Total,
    EachRow,
};

// What all upstream gradients are multiples of: theirs where it is one, else the power of two below the largest finite one,
// so that a row's is below 2 and a sum of two scales with it a float. The whole block takes part.
DEV float unit_of(const float* grad_loss, const float* counted, int rows, int reduction)
{
    SHARED(float, scratch, [Threads / 32]);
    if (reduction != EachRow) return reduction == Mean ? grad_loss[0] / counted[0] : grad_loss[0];
    float largest = 1.17549435e-38f; // the smallest that has a power of two for itself
    for (int i = threadIdx.x; i < rows; i += Threads)
    {
        const float u = fabsf(grad_loss[i]);
        if (u <= LargestFloat) largest = max_op(largest, u); // a row's NaN or infinity is its own affair
    }
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = largest;
    __syncthreads(); // every warp's is there
    for (int w = 0; w < Threads / 32; w++) largest = max_op(largest, scratch[w]);
    return __uint_as_float(__float_as_uint(largest) & 0x7f800000u);
}

// A thread per row. Every block finds the same unit for itself.
extern "C" __global__ void __launch_bounds__(Threads) contrastive_coefficients(float* __restrict__ unit_out,        // []
                                                                               float* __restrict__ scale_out,       // [rows]
                                                                               float* __restrict__ offset_out,      // [rows]
                                                                               const float* __restrict__ scale,     // [rows]
                                                                               const float* __restrict__ offset,    // [rows]
                                                                               const float* __restrict__ grad_loss, // [] or [rows]
                                                                               const float* __restrict__ counted,   // []
                                                                               int rows, int reduction)
{
    const int i = blockIdx.x * Threads + threadIdx.x;
    const float unit = unit_of(grad_loss, counted, rows, reduction);
    if (i == 0) unit_out[0] = unit;
    if (i >= rows) return;
    const float u = reduction == EachRow ? grad_loss[i] / unit : 1.0f;
    scale_out[i] = scale[i] == 0.0f ? 0.0f : u * scale[i]; // a row that does not count stays out, whatever its gradient
    offset_out[i] = offset[i] == 0.0f ? 0.0f : u * offset[i];
}

struct GradientArguments
{
    float* grad;               // [rows, stride]
    const float* partial;      // [slices, rows, pitch]
    const void* z;             // [rows, pitch]
    const float* inverse_norm; // [rows], or null: the rows are not normalised
    const float* scalars;      // [2]
    const float* unit;         // [] or null: 1
    int64_t stride;
    int rows, dim, pitch, slices, precision;
};

// Folds the slices, first to last, and goes back through the norm. A warp per row.
extern "C" __global__ void __launch_bounds__(Threads) contrastive_gradient(GradientArguments p)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * RowsPerBlock + threadIdx.x / 32;
    if (row >= p.rows) return; // with its whole warp
    const int64_t at = static_cast<int64_t>(row) * p.pitch;
    auto folded = [&](int d)
    {
        float g = 0.0f;
        for (int s = 0; s < p.slices; s++) g += p.partial[(static_cast<int64_t>(s) * p.rows + row) * p.pitch + d];
        return g;
    };
    float along = 0.0f; // z . g
    for (int d = lane; d < p.dim; d += 32) along += folded(d) * load_rounded(p.z, at + d, p.precision);
    along = warp_sum(along);
    // In double, since a product of two of the factors need not be a float where the gradient is.
    const double upstream = bounded(static_cast<double>(p.scalars[0]) * (p.unit ? p.unit[0] : 1.0f));
    const double factor = bounded(upstream * (p.inverse_norm ? p.inverse_norm[row] : 1.0f));
    const float radial = p.inverse_norm ? along : 0.0f;
    for (int d = lane; d < p.dim; d += 32)
        p.grad[row * p.stride + d] = static_cast<float>(factor * (folded(d) - load_rounded(p.z, at + d, p.precision) * radial));
}

// grad_temperature = -factor unit / tau^2 sum_ij w_ij s_ij, grad_bias = unit sum_i u_i d loss_i / d bias. One block.
extern "C" __global__ void __launch_bounds__(Threads) contrastive_scalar_gradients(float* __restrict__ grad_temperature, // [] or null
                                                                                   float* __restrict__ grad_bias,        // [] or null
                                                                                   const float* __restrict__ by_tile,    // [tiles] of w s, or null
                                                                                   const float* __restrict__ by_bias,    // [rows]
                                                                                   const float* __restrict__ scalars,    // [2]
                                                                                   const float* __restrict__ unit,       // []
                                                                                   float factor, int64_t tiles, int rows)
{
    SHARED(double, scratch, [Threads / 32]);
    double temperature = 0, bias = 0;
    if (grad_temperature)
        for (int64_t i = threadIdx.x; i < tiles; i += Threads) temperature += by_tile[i];
    if (grad_bias)
        for (int i = threadIdx.x; i < rows; i += Threads) bias += by_bias[i];
    temperature = block_sum(temperature, scratch);
    bias = block_sum(bias, scratch);
    if (threadIdx.x != 0) return;
    if (grad_temperature) grad_temperature[0] = static_cast<float>(-factor * temperature * bounded(static_cast<double>(scalars[0]) * scalars[0] * unit[0]));
    if (grad_bias) grad_bias[0] = static_cast<float>(bias * bounded(unit[0]));
}
