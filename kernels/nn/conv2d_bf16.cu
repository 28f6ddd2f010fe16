// Convolution as in conv2d.cu, which has the formulas, on the tensor cores: bfloat16 factors, float32 sums. y and grad_x in
// bfloat16 or float32, grad_w and bias in float32. Implicit matrix products by bf16_tile.cuh:
//
//   y       [pixels of y, filters]       = patches of x [pixels, taps] . weights [filters, taps]
//   grad_x  [pixels of a phase, channels] = grad_y [pixels, its taps and filters] . weights [the same, channels]
//   grad_w  [filters, taps]              = grad_y [pixels, filters] . patches of x [pixels, taps]
//
// Layout: channels innermost, x [images, height, width, channels], y [images, out_height, out_width, filters],
// w [filters, kernel_height, kernel_width, channels]. Where channels (and, backward, filters) are multiples of 8, a chunk of
// 8 numbers lies within one tap and is copied at once (`whole`); else numbers are gathered one by one. Saved for backward: x
// and w in bfloat16. 2 pixels taps filters FLOPs each. Sums are whole in one thread; the pixels of grad_w are cut into
// stripes by the shape alone and folded in order (conv2d_fold), so that every run gives the same bits. Overwrites its
// outputs. Launched by Ops/Conv2d.Cuda.Bf16.cs.
#include "common/prelude.cuh"

using bf16_tile::copies;

// The number, or 8 numbers, at (row, column) of an image, null outside.
DEV const bf16* pixel_of(const bf16* image, int row, int column, int height, int width, int channels)
{
    if (row < 0 || row >= height || column < 0 || column >= width) return nullptr;
    return image + (static_cast<int64_t>(row) * width + column) * channels;
}

DEV bf16 value_or_zero(const bf16* at, int channel) { return at != nullptr ? at[channel] : bf16{0}; }

// A pixel of y, by its number: where its patch of x begins.
struct PatchOrigin
{
    const bf16* image;
    int top, left;

    __device__ PatchOrigin() {}
    __device__ PatchOrigin(const bf16* x, int pixel, const ConvSizes& g)
    {
        const int j = pixel % g.out_width, rest = pixel / g.out_width, i = rest % g.out_height, n = rest / g.out_height;
        image = x + static_cast<int64_t>(n) * g.height * g.width * g.channels;
        top = i * g.stride - g.padding;
        left = j * g.stride - g.padding;
    }
    __device__ const bf16* pixel(const Tap& tap, const ConvSizes& g) const
    {
        return pixel_of(image, top + tap.r, left + tap.s, g.height, g.width, g.channels);
    }
};

// Lines: pixels of y. Depth: taps of their patches of x.
template <int LINES, bool Whole_> struct PatchLines
{
    static constexpr bool DepthInnermost = true, Whole = Whole_;
    const ConvSizes& g;
    PatchOrigin origin[copies<LINES>];

    __device__ PatchLines(const bf16* x, int first, int pixels, const ConvSizes& sizes) : g(sizes)
    {
#pragma unroll
        for (int i = 0; i < copies<LINES>; i++) origin[i] = PatchOrigin(x, min(first + bf16_tile::line<LINES, true>(i), pixels - 1), g);
    }
    __device__ Tap at(int tap) const { return Tap(tap, g); }
    __device__ const bf16* chunk(int i, const Tap& tap) const
    {
        const bf16* pixel = origin[i].pixel(tap, g);
        return pixel != nullptr ? pixel + tap.c : nullptr;
    }
    __device__ bf16 element(int i, int depth) const
    {
        const Tap tap(depth, g);
        return value_or_zero(origin[i].pixel(tap, g), tap.c);
    }
};

// Lines: taps, eight of this thread's. Depth: pixels of y.
template <int LINES, bool Whole_> struct TapLines
{
    static constexpr bool DepthInnermost = false, Whole = Whole_;
    const ConvSizes& g;
    const bf16* x;
    int tap0, taps;
    Tap first_tap;

    __device__ TapLines(const bf16* x_, int first, int taps_, const ConvSizes& sizes)
        : g(sizes), x(x_), tap0(first + bf16_tile::line<LINES, false>(0)), taps(taps_), first_tap(tap0, sizes)
    {
    }
    __device__ const bf16* chunk(int depth) const
    {
        if (tap0 >= taps) return nullptr;
        const bf16* pixel = PatchOrigin(x, depth, g).pixel(first_tap, g);
        return pixel != nullptr ? pixel + first_tap.c : nullptr;
    }
    __device__ bf16 element(int e, int depth) const
    {
        if (tap0 + e >= taps) return {0};
        const Tap tap(tap0 + e, g);
        return value_or_zero(PatchOrigin(x, depth, g).pixel(tap, g), tap.c);
    }
};

// Lines: pixels of a phase. Depth: (t_r, t_s, filter), the numbers of grad_y that reach them.
template <int LINES, bool Whole_> struct GradYLines
{
    struct Reached
    {
        int up, left, filter;
    };
    static constexpr bool DepthInnermost = true, Whole = Whole_;
    const ConvSizes& g;
    int taps_s, i[copies<LINES>], j[copies<LINES>];
    const bf16* image[copies<LINES>];

    __device__ GradYLines(const bf16* grad_y, int first, int pixels, const Phase& phase, const ConvSizes& sizes)
        : g(sizes), taps_s(phase.taps_s)
    {
#pragma unroll
        for (int l = 0; l < copies<LINES>; l++)
        {
            const int pixel = min(first + bf16_tile::line<LINES, true>(l), pixels - 1);
            const int b = pixel % phase.columns, rest = pixel / phase.columns, a = rest % phase.rows, n = rest / phase.rows;
            image[l] = grad_y + static_cast<int64_t>(n) * g.out_height * g.out_width * g.filters;
            i[l] = a + phase.base_i;
            j[l] = b + phase.base_j;
        }
    }
    __device__ Reached at(int depth) const
    {
        const int tap = depth / g.filters;
        return {tap / taps_s, tap % taps_s, depth % g.filters};
    }
    __device__ const bf16* chunk(int l, const Reached& at) const
    {
        const bf16* pixel = pixel_of(image[l], i[l] - at.up, j[l] - at.left, g.out_height, g.out_width, g.filters);
        return pixel != nullptr ? pixel + at.filter : nullptr;
    }
    __device__ bf16 element(int l, int depth) const
    {
        const Reached reached = at(depth);
        return value_or_zero(pixel_of(image[l], i[l] - reached.up, j[l] - reached.left, g.out_height, g.out_width, g.filters), reached.filter);
    }
};

// Lines: channels, eight of this thread's. Depth: as above, here the weights.
template <int LINES, bool Whole_> struct PhaseWeights
{
    static constexpr bool DepthInnermost = false, Whole = Whole_;
    const ConvSizes& g;
    int first_r, first_s, taps_s, channel0;
    const bf16* w;

    __device__ PhaseWeights(const bf16* w_, int first, const Phase& phase, const ConvSizes& sizes)
        : g(sizes), first_r(phase.first_r), first_s(phase.first_s), taps_s(phase.taps_s),
          channel0(first + bf16_tile::line<LINES, false>(0)), w(w_)
    {
    }
    __device__ const bf16* chunk(int depth) const
    {
        if (channel0 >= g.channels) return nullptr;
        const int tap = depth / g.filters, r = first_r + tap / taps_s * g.stride, s = first_s + tap % taps_s * g.stride;
        return w + ((static_cast<int64_t>(depth % g.filters) * g.kernel_height + r) * g.kernel_width + s) * g.channels + channel0;
    }
    __device__ bf16 element(int e, int depth) const { return channel0 + e < g.channels ? chunk(depth)[e] : bf16{0}; }
};

template <int M, int N, bool Whole>
DEV void forward(void* y, const bf16* x, const bf16* w, const float* bias, const ConvSizes& g, int images, bool as_bf16, bf16* stages)
{
    using Tile = bf16_tile::Tile<M, N>;
    const int pixels = images * g.out_height * g.out_width, taps = g.kernel_height * g.kernel_width * g.channels;
    const int filter_tiles = (g.filters - 1) / Tile::Columns + 1;
    const int pixel0 = blockIdx.x / filter_tiles * Tile::Rows, filter0 = blockIdx.x % filter_tiles * Tile::Columns;
    const PatchLines<Tile::Rows, Whole> patches(x, pixel0, pixels, g);
    const bf16_tile::MatrixLines<Tile::Columns, true, Whole> weights(w, filter0, g.filters, taps);
    float sums[M][N][4];
    Tile::multiply(sums, stages, 0, taps, patches, weights, w);

    bf16_tile::for_pairs(sums, [&](int r, int c, float first, float second) {
        const int pixel = pixel0 + r, filter = filter0 + c;
        if (pixel >= pixels || filter >= g.filters) return;
        const bool both = filter + 1 < g.filters;
        if (bias != nullptr)
        {
            first += bias[filter];
            if (both) second += bias[filter + 1];
        }
        bf16_tile::store_pair(y, static_cast<int64_t>(pixel) * g.filters + filter, first, second, both, as_bf16);
    });
}

template <int M, int N, bool Whole>
DEV void input_gradient(void* grad_x, const bf16* grad_y, const bf16* w, const ConvSizes& g, int images, int pixel_tiles, bool as_bf16, bf16* stages)
{
    using Tile = bf16_tile::Tile<M, N>;
    const int channel_tiles = (g.channels - 1) / Tile::Columns + 1, tile = blockIdx.x / channel_tiles;
    const Phase phase(tile / pixel_tiles, g);
    const int pixels = images * phase.rows * phase.columns, depth = phase.taps_r * phase.taps_s * g.filters;
    const int pixel0 = tile % pixel_tiles * Tile::Rows, channel0 = blockIdx.x % channel_tiles * Tile::Columns;
    if (pixel0 >= pixels) return; // with its whole block
    const GradYLines<Tile::Rows, Whole> gradients(grad_y, pixel0, pixels, phase, g);
    const PhaseWeights<Tile::Columns, Whole> weights(w, channel0, phase, g);
    float sums[M][N][4];
    Tile::multiply(sums, stages, 0, depth, gradients, weights, w);

    bf16_tile::for_pairs(sums, [&](int r, int c, float first, float second) {
        const int pixel = pixel0 + r, channel = channel0 + c;
        if (pixel >= pixels || channel >= g.channels) return;
        bf16_tile::store_pair(grad_x, phase.pixel(pixel, g) * g.channels + channel, first, second, channel + 1 < g.channels, as_bf16);
    });
}

template <int M, int N, bool Whole>
DEV void weight_gradient(float* partial, const bf16* grad_y, const bf16* x, const ConvSizes& g, int images, int pixels_per_stripe, bf16* stages)
{
    using Tile = bf16_tile::Tile<M, N>;
    const int pixels = images * g.out_height * g.out_width, taps = g.kernel_height * g.kernel_width * g.channels;
    const int tap_tiles = (taps - 1) / Tile::Columns + 1, filter_tiles = (g.filters - 1) / Tile::Rows + 1;
    const int tile = blockIdx.x / tap_tiles, stripe = tile / filter_tiles;
    const int filter0 = tile % filter_tiles * Tile::Rows, tap0 = blockIdx.x % tap_tiles * Tile::Columns;
    const int begin = stripe * pixels_per_stripe, end = begin + min(pixels_per_stripe, pixels - begin);
    const bf16_tile::MatrixLines<Tile::Rows, false, Whole> gradients(grad_y, filter0, g.filters, pixels);
    const TapLines<Tile::Columns, Whole> patches(x, tap0, taps, g);
    float sums[M][N][4];
    Tile::multiply(sums, stages, begin, end, gradients, patches, x);

    bf16_tile::for_pairs(sums, [&](int r, int c, float first, float second) {
        const int filter = filter0 + r, tap = tap0 + c;
        if (filter >= g.filters || tap >= taps) return;
        bf16_tile::store_pair(partial, (static_cast<int64_t>(stripe) * g.filters + filter) * taps + tap, first, second, tap + 1 < taps, false);
    });
}

// Tiles of 64 x 64. Grid: (tiles of pixels) * (tiles of filters), filters innermost.
extern "C" __global__ void __launch_bounds__(128) conv2d_forward_bf16(void* __restrict__ y,           // [images, out_height, out_width, filters]
                                                                      const bf16* __restrict__ x,     // [images, height, width, channels]
                                                                      const bf16* __restrict__ w,     // [filters, kernel_height, kernel_width, channels]
                                                                      const float* __restrict__ bias, // [filters] or null
                                                                      const ConvSizes g, int images, int y_is_bf16, int whole)
{
    SHARED(bf16, stages, [bf16_tile::Tile<2, 4>::SharedElements]);
    if (whole) forward<2, 4, true>(y, x, w, bias, g, images, y_is_bf16, stages);
    else forward<2, 4, false>(y, x, w, bias, g, images, y_is_bf16, stages);
}

// Tiles of 128 pixels x 64 filters, whole chunks only.
extern "C" __global__ void __launch_bounds__(128) conv2d_forward_bf16_large(void* __restrict__ y,           // [images, out_height, out_width, filters]
                                                                            const bf16* __restrict__ x,     // [images, height, width, channels]
                                                                            const bf16* __restrict__ w,     // [filters, kernel_height, kernel_width, channels]
                                                                            const float* __restrict__ bias, // [filters] or null
                                                                            const ConvSizes g, int images, int y_is_bf16)
{
    SHARED(bf16, stages, [bf16_tile::Tile<4, 4>::SharedElements]);
    forward<4, 4, true>(y, x, w, bias, g, images, y_is_bf16, stages);
}

// Tiles of 64 x 64. Grid: phases * pixel_tiles * (tiles of channels), channels innermost; pixel_tiles are those of the
// largest phase.
extern "C" __global__ void __launch_bounds__(128) conv2d_grad_x_bf16(void* __restrict__ grad_x,       // [images, height, width, channels]
                                                                     const bf16* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                     const bf16* __restrict__ w,      // [filters, kernel_height, kernel_width, channels]
                                                                     const ConvSizes g, int images, int pixel_tiles, int grad_x_is_bf16, int whole)
{
    SHARED(bf16, stages, [bf16_tile::Tile<2, 4>::SharedElements]);
    if (whole) input_gradient<2, 4, true>(grad_x, grad_y, w, g, images, pixel_tiles, grad_x_is_bf16, stages);
    else input_gradient<2, 4, false>(grad_x, grad_y, w, g, images, pixel_tiles, grad_x_is_bf16, stages);
}

// Tiles of 128 pixels x 64 channels, whole chunks only.
extern "C" __global__ void __launch_bounds__(128) conv2d_grad_x_bf16_large(void* __restrict__ grad_x,       // [images, height, width, channels]
                                                                           const bf16* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                           const bf16* __restrict__ w,      // [filters, kernel_height, kernel_width, channels]
                                                                           const ConvSizes g, int images, int pixel_tiles, int grad_x_is_bf16)
{
    SHARED(bf16, stages, [bf16_tile::Tile<4, 4>::SharedElements]);
    input_gradient<4, 4, true>(grad_x, grad_y, w, g, images, pixel_tiles, grad_x_is_bf16, stages);
}

// Every stripe's part of grad_w. Tiles of 64 x 64. Grid: stripes * (tiles of filters) * (tiles of taps), taps innermost.
extern "C" __global__ void __launch_bounds__(128) conv2d_grad_w_bf16(float* __restrict__ partial,     // [stripes, filters, kernel_height, kernel_width, channels]
                                                                     const bf16* __restrict__ grad_y, // [images, out_height, out_width, filters]
                                                                     const bf16* __restrict__ x,      // [images, height, width, channels]
                                                                     const ConvSizes g, int images, int pixels_per_stripe, int whole)
{
    SHARED(bf16, stages, [bf16_tile::Tile<2, 4>::SharedElements]);
    if (whole) weight_gradient<2, 4, true>(partial, grad_y, x, g, images, pixels_per_stripe, stages);
    else weight_gradient<2, 4, false>(partial, grad_y, x, g, images, pixels_per_stripe, stages);
}
