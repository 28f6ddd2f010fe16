// Convolution (cross-correlation) of float32 numbers, or of those rounded to TF32 (.._tf32, on the tensor cores), as
// implicit matrix products: patches of the input are gathered as they are
// read and never stored.
//
//   y[n, i, j, k] = sum_{r, s, c} x[n, i stride + r - padding, j stride + s - padding, c] w[k, r, s, c] + bias[k]
//       a product of [pixels of y, taps] and [taps, filters], where the taps are (r, s, c)
//   grad_x[n, y, x, c] = sum_{r, s, k} grad_y[n, (y + padding - r) / stride, (x + padding - s) / stride, k] w[k, r, s, c]
//       over the r, s that divide. Those are the same for pixels of the same y mod stride and x mod stride: a phase. Each
//       phase is a dense product of [its pixels, its taps (r, s, k)] and [taps, channels], without a step for nothing.
//   grad_w[k, r, s, c] = sum_{n, i, j} grad_y[n, i, j, k] x[n, i stride + r - padding, j stride + s - padding, c]
//       a product of [filters, pixels of y] and [pixels of y, taps]
//
// What lies outside of x is zero. Layout: channels innermost, x [images, height, width, channels], y [images, out_height,
// out_width, filters], w [filters, kernel_height, kernel_width, channels]. Saved for backward: x and w. bias's gradient is
// column_sums.cu. 2 pixels taps filters FLOPs each. Sums of y and grad_x are whole in one thread; the pixels of grad_w are
// cut into stripes by the shape alone and folded in order, so that every run gives the same bits. Everything overwrites
// its outputs. Launched by Ops/Conv2d.Cuda.cs.
#include "common/prelude.cuh"

// A pixel of y, by its number: where its patch of x begins.
struct PatchOrigin
{
    const float* image;
    int top, left;

    __device__ PatchOrigin() {}
    __device__ PatchOrigin(const float* x, int pixel, const ConvSizes& g)
    {
        const int j = pixel % g.out_width, rest = pixel / g.out_width, i = rest % g.out_height, n = rest / g.out_height;
        image = x + static_cast<int64_t>(n) * g.height * g.width * g.channels;
        top = i * g.stride - g.padding;
        left = j * g.stride - g.padding;
    }
};

DEV float patch_value(const PatchOrigin& origin, const Tap& tap, const ConvSizes& g)
{
    const int y = origin.top + tap.r, x = origin.left + tap.s;
    if (y < 0 || y >= g.height || x < 0 || x >= g.width) return 0.0f;
    return origin.image[(static_cast<int64_t>(y) * g.width + x) * g.channels + tap.c];
}

// Lines: pixels of y. Depth: taps of their patches of x.
struct PatchLines
{
    static constexpr bool DepthInnermost = true;
    ConvSizes g;
    PatchOrigin origin[4];

    __device__ PatchLines(const float* x, int first, int pixels, const ConvSizes& sizes) : g(sizes)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) origin[i] = PatchOrigin(x, min(first + gemm_tile::line<DepthInnermost>(i), pixels - 1), g);
    }
    __device__ Tap at(int tap) const { return Tap(tap, g); }
    __device__ float load(int i, const Tap& tap) const { return patch_value(origin[i], tap, g); }
};

// Lines: taps. Depth: pixels of y.
struct TapLines
{
    static constexpr bool DepthInnermost = false;
    ConvSizes g;
    const float* x;
    Tap tap[4];

    __device__ TapLines(const float* x_, int first, int taps, const ConvSizes& sizes) : g(sizes), x(x_)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) tap[i] = Tap(min(first + gemm_tile::line<DepthInnermost>(i), taps - 1), g);
    }
    __device__ PatchOrigin at(int pixel) const { return PatchOrigin(x, pixel, g); }
    __device__ float load(int i, const PatchOrigin& origin) const { return patch_value(origin, tap[i], g); }
};

// Lines: rows of a row-major matrix [lines, depth].
struct RowLines
{
    static constexpr bool DepthInnermost = true;
    const float* from[4];

    __device__ RowLines(const float* matrix, int first, int lines, int depth)
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
            from[i] = matrix + static_cast<int64_t>(min(first + gemm_tile::line<DepthInnermost>(i), lines - 1)) * depth;
    }
    __device__ int at(int depth) const { return depth; }
    __device__ float load(int i, int depth) const { return from[i][depth]; }
};

// Lines: columns of a row-major matrix [depth, lines].
struct ColumnLines
{
    static constexpr bool DepthInnermost = false;
    const float* matrix;
    int lines, line[4];

    __device__ ColumnLines(const float* matrix_, int first, int lines_) : matrix(matrix_), lines(lines_)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) line[i] = min(first + gemm_tile::line<DepthInnermost>(i), lines - 1);
    }
    __device__ const float* at(int depth) const { return matrix + static_cast<int64_t>(depth) * lines; }
    __device__ float load(int i, const float* at) const { return at[line[i]]; }
};

template <class Product>
DEV void forward(float* y, const float* x, const float* w, const float* bias, const ConvSizes& g, int images, float (*stage)[Product::Pitch])
{
    const int pixels = images * g.out_height * g.out_width, taps = g.kernel_height * g.kernel_width * g.channels;
    const int filter_tiles = (g.filters - 1) / gemm_tile::Side + 1;
    const int pixel0 = blockIdx.x / filter_tiles * gemm_tile::Side, filter0 = blockIdx.x % filter_tiles * gemm_tile::Side;
    const PatchLines patches(x, pixel0, pixels, g);
    const RowLines weights(w, filter0, g.filters, taps);
    Product product;
    gemm_tile::multiply(product, stage, 0, taps, patches, weights);
    product.for_each([&](int r, int c, float value) {
        const int pixel = pixel0 + r, filter = filter0 + c;
        if (pixel < pixels && filter < g.filters)
            y[static_cast<int64_t>(pixel) * g.filters + filter] = value + (bias != nullptr ? bias[filter] : 0.0f);
    });
}

// Grid: (tiles of pixels) * (tiles of filters), filters innermost.
extern "C" __global__ void __launch_bounds__(256) conv2d_forward(float* __restrict__ y,          // [images, out_height, out_width, filters]
                                                                 const float* __restrict__ x,    // [images, height, width, channels]
                                                                 const float* __restrict__ w,    // [filters, kernel_height, kernel_width, channels]
                                                                 const float* __restrict__ bias, // [filters] or null
                                                                 ConvSizes g, int images)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Float32::Pitch]);
    forward<gemm_tile::Float32>(y, x, w, bias, g, images, stage);
}

// The same.
extern "C" __global__ void __launch_bounds__(256) conv2d_forward_tf32(float* __restrict__ y,          // [images, out_height, out_width, filters]
                                                                      const float* __restrict__ x,    // [images, height, width, channels]
                                                                      const float* __restrict__ w,    // [filters, kernel_height, kernel_width, channels]
                                                                      const float* __restrict__ bias, // [filters] or null
                                                                      ConvSizes g, int images)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Tf32::Pitch]);
    forward<gemm_tile::Tf32>(y, x, w, bias, g, images, stage);
}

// Lines: pixels of a phase. Depth: (t_r, t_s, filter), the numbers of grad_y that reach them.
struct GradYLines
{
    struct Place
    {
        int up, left, k;
    };
    static constexpr bool DepthInnermost = true;
    ConvSizes g;
    int taps_s, i[4], j[4];
    const float* image[4];

    __device__ GradYLines(const float* grad_y, int first, int pixels, const Phase& phase, const ConvSizes& sizes)
        : g(sizes), taps_s(phase.taps_s)
    {
#pragma unroll
        for (int l = 0; l < 4; l++)
        {
            const int pixel = min(first + gemm_tile::line<DepthInnermost>(l), pixels - 1);
            const int b = pixel % phase.columns, rest = pixel / phase.columns, a = rest % phase.rows, n = rest / phase.rows;
            image[l] = grad_y + static_cast<int64_t>(n) * g.out_height * g.out_width * g.filters;
            i[l] = a + phase.base_i;
            j[l] = b + phase.base_j;
        }
    }
    __device__ Place at(int depth) const
    {
        const int tap = depth / g.filters;
        return {tap / taps_s, tap % taps_s, depth % g.filters};
    }
    __device__ float load(int l, const Place& at) const
    {
        const int row = i[l] - at.up, column = j[l] - at.left;
        if (row < 0 || row >= g.out_height || column < 0 || column >= g.out_width) return 0.0f;
        return image[l][(static_cast<int64_t>(row) * g.out_width + column) * g.filters + at.k];
    }
};

// Lines: channels. Depth: as above, here the weights.
struct PhaseWeights
{
    static constexpr bool DepthInnermost = false;
    ConvSizes g;
    int first_r, first_s, taps_s, line[4];
    const float* w;

    __device__ PhaseWeights(const float* w_, int first, const Phase& phase, const ConvSizes& sizes)
        : g(sizes), first_r(phase.first_r), first_s(phase.first_s), taps_s(phase.taps_s), w(w_)
    {
#pragma unroll
        for (int l = 0; l < 4; l++) line[l] = min(first + gemm_tile::line<DepthInnermost>(l), g.channels - 1);
    }
    __device__ const float* at(int depth) const
    {
        const int tap = depth / g.filters, r = first_r + tap / taps_s * g.stride, s = first_s + tap % taps_s * g.stride;
        return w + ((static_cast<int64_t>(depth % g.filters) * g.kernel_height + r) * g.kernel_width + s) * g.channels;
    }
    __device__ float load(int l, const float* at) const { return at[line[l]]; }
};

template <class Product>
DEV void backward_input(float* grad_x, const float* grad_y, const float* w, const ConvSizes& g, int images, int pixel_tiles, float (*stage)[Product::Pitch])
{
    const int channel_tiles = (g.channels - 1) / gemm_tile::Side + 1, tile = blockIdx.x / channel_tiles;
    const Phase phase(tile / pixel_tiles, g);
    const int pixels = images * phase.rows * phase.columns, depth = phase.taps_r * phase.taps_s * g.filters;
    const int pixel0 = tile % pixel_tiles * gemm_tile::Side, channel0 = blockIdx.x % channel_tiles * gemm_tile::Side;
    if (pixel0 >= pixels) return; // with its whole block
    const GradYLines gradients(grad_y, pixel0, pixels, phase, g);
    const PhaseWeights weights(w, channel0, phase, g);
    Product product;
    gemm_tile::multiply(product, stage, 0, depth, gradients, weights);
    product.for_each([&](int r, int c, float value) {
        const int pixel = pixel0 + r, channel = channel0 + c;
        if (pixel < pixels && channel < g.channels) grad_x[phase.pixel(pixel, g) * g.channels + channel] = value;
    });
}

// Grid: phases * pixel_tiles * (tiles of channels), channels innermost; pixel_tiles are those of the largest phase.
extern "C" __global__ void __launch_bounds__(256) conv2d_grad_x(float* __restrict__ grad_x,       // [images, height, width, channels]
                                                                const float* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                const float* __restrict__ w,      // [filters, kernel_height, kernel_width, channels]
                                                                ConvSizes g, int images, int pixel_tiles)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Float32::Pitch]);
    backward_input<gemm_tile::Float32>(grad_x, grad_y, w, g, images, pixel_tiles, stage);
}

// The same.
extern "C" __global__ void __launch_bounds__(256) conv2d_grad_x_tf32(float* __restrict__ grad_x,       // [images, height, width, channels]
                                                                     const float* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                     const float* __restrict__ w,      // [filters, kernel_height, kernel_width, channels]
                                                                     ConvSizes g, int images, int pixel_tiles)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Tf32::Pitch]);
    backward_input<gemm_tile::Tf32>(grad_x, grad_y, w, g, images, pixel_tiles, stage);
}

template <class Product>
DEV void backward_weight(float* partial, const float* grad_y, const float* x, const ConvSizes& g, int images, int pixels_per_stripe, float (*stage)[Product::Pitch])
{
    const int pixels = images * g.out_height * g.out_width, taps = g.kernel_height * g.kernel_width * g.channels;
    const int tap_tiles = (taps - 1) / gemm_tile::Side + 1, filter_tiles = (g.filters - 1) / gemm_tile::Side + 1;
    const int tile = blockIdx.x / tap_tiles, stripe = tile / filter_tiles;
    const int filter0 = tile % filter_tiles * gemm_tile::Side, tap0 = blockIdx.x % tap_tiles * gemm_tile::Side;
    const int first = stripe * pixels_per_stripe, count = min(pixels_per_stripe, pixels - first);
    const ColumnLines gradients(grad_y, filter0, g.filters);
    const TapLines patches(x, tap0, taps, g);
    Product product;
    gemm_tile::multiply(product, stage, first, first + count, gradients, patches);
    product.for_each([&](int r, int c, float value) {
        const int filter = filter0 + r, tap = tap0 + c;
        if (filter < g.filters && tap < taps) partial[(static_cast<int64_t>(stripe) * g.filters + filter) * taps + tap] = value;
    });
}

// Every stripe's part of grad_w. Grid: stripes * (tiles of filters) * (tiles of taps), taps innermost.
extern "C" __global__ void __launch_bounds__(256) conv2d_grad_w(float* __restrict__ partial,      // [stripes, filters, kernel_height, kernel_width, channels]
                                                                const float* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                const float* __restrict__ x,      // [images, height, width, channels]
                                                                ConvSizes g, int images, int pixels_per_stripe)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Float32::Pitch]);
    backward_weight<gemm_tile::Float32>(partial, grad_y, x, g, images, pixels_per_stripe, stage);
}

// The same.
extern "C" __global__ void __launch_bounds__(256) conv2d_grad_w_tf32(float* __restrict__ partial,      // [stripes, filters, kernel_height, kernel_width, channels]
                                                                     const float* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                     const float* __restrict__ x,      // [images, height, width, channels]
                                                                     ConvSizes g, int images, int pixels_per_stripe)
{
    SHARED(float, stage, [gemm_tile::StageLines][gemm_tile::Tf32::Pitch]);
    backward_weight<gemm_tile::Tf32>(partial, grad_y, x, g, images, pixels_per_stripe, stage);
}

// grad_w = sum of the stripes, first to last. Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(256) conv2d_fold(float* __restrict__ grad_w,        // [count]
                                                              const float* __restrict__ partial, // [stripes, count]
                                                              int stripes, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    {
        float sum = 0.0f;
        for (int stripe = 0; stripe < stripes; stripe++) sum += partial[stripe * count + i];
        grad_w[i] = sum;
    }
}
