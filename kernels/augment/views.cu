// Views of images: bytes in, normalised floats out, the whole chain of docs/design/augmentation.md in one launch.
//
//   resize the crop, or warp the image -> colour jitter -> greyscale -> blur -> solarize -> noise -> normalise
//
// images: [images, channels, height, width] bytes; views: [views, out_height, out_width, channels], overwritten. Views are
// float32, or with the ending _bf16 bfloat16: the same floats, rounded once, to nearest and ties to even, as they are stored.
// View v is of image tables[v].image, as its ViewEntry says, which the host draws (ViewParameters.cs). A block has a view
// at a time: contrast needs the mean of the view, blur and resize need neighbours, and a block can wait for its own
// threads. The planes are in shared memory (views_shared) or, where they do not fit, in the block's part of a global
// scratch (views_global). Every operation is rounded where the CPU device rounds it (a fused product only where it fuses), so
// the pixels are the CPU's to the bit but for the order of sum of contrast's mean and the exponentials of the blur.
// Saves nothing: not differentiable. Launched by Ops/Augment.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

// Words of 4 bytes throughout, in the order of Augment.Cuda.cs.
struct ViewEntry
{
    int image;                                // row of images
    int left, top, width, height;             // the crop
    int flags;                                // of the names below
    float xx, xy, x0, yx, yy, y0;             // the affine map, view to image
    int jitter;                               // four operations, 4 bits each, the first lowest; NoJitter: leave out
    float brightness, contrast, saturation, hue_sixths;
    float blur_sigma;                         // 0: none
    int blur_radius;
    float solarize_threshold;
    float noise_scale;                        // 0: none
    uint32_t seed_low, seed_high, epoch, sample, noise_domain;
    float factor[3], offset[3];
};

constexpr int Flip = 1, Warp = 2, Bicubic = 4, Antialias = 8, Greyscale = 16, Solarize = 32;
constexpr int Brightness = 0, Contrast = 1, Saturation = 2, Hue = 3; // any other: nothing

struct ViewSizes
{
    int channels, height, width, out_height, out_width;
    int spare_floats;                         // of one plane's intermediate: the resize's rows, or the blur's columns
    int vertical_taps, horizontal_taps;       // the most that a crop's resize needs
};

constexpr float ByteToUnit = 1.0f / 255;

// ---- Pieces ----

DEV float clamp01(float x)
{
    x = x > 0.0f ? x : 0.0f;
    return x < 1.0f ? x : 1.0f;
}

DEV float unit_of(const unsigned char* image, int64_t at) { return __fmul_rn(static_cast<float>(image[at]), ByteToUnit); }

DEV float grey_of(float r, float g, float b) { return fmaf(0.2989f, r, fmaf(0.587f, g, __fmul_rn(0.114f, b))); }

DEV int reflect(int i, int size) { return i < 0 ? -i : i >= size ? 2 * (size - 1) - i : i; }

// The resize's kernel at distance x.
DEV float resize_kernel(bool bicubic, float x)
{
    x = fabsf(x);
    if (!bicubic) return x < 1.0f ? __fsub_rn(1.0f, x) : 0.0f;
    if (x < 1.0f) return __fadd_rn(__fmul_rn(__fmul_rn(__fsub_rn(__fmul_rn(1.5f, x), 2.5f), x), x), 1.0f);
    if (x < 2.0f)
        return __fadd_rn(__fmul_rn(__fsub_rn(__fmul_rn(__fadd_rn(__fmul_rn(-0.5f, x), 2.5f), x), 4.0f), x), 2.0f);
    return 0.0f;
}

// One axis of a resize (ResampleTable.cs): output i is Sum_k weights[i taps + k] input[first[i] + k]. Returns taps.
DEV int fill_resample(int* first, float* weights, int input, int output, int most_taps, bool bicubic, bool antialias, bool reverse)
{
    const float scale = static_cast<float>(input) / output, widen = antialias && scale > 1.0f ? scale : 1.0f;
    const float support = __fmul_rn(bicubic ? 2.0f : 1.0f, widen);
    const bool clamp_outside = !antialias && bicubic;
    const int wanted = widen == 1.0f ? (bicubic ? 4 : 2) : static_cast<int>(ceilf(__fmul_rn(bicubic ? 4.0f : 2.0f, widen))) + 1;
    const int taps = min(min(wanted, most_taps), input);
    for (int i = threadIdx.x; i < output; i += blockDim.x)
    {
        const float center = __fmul_rn(i + 0.5f, scale);
        const int start = static_cast<int>(floorf(__fadd_rn(__fsub_rn(center, support), 0.5f)));
        const int from = max(0, min(start, input - taps)), slot = reverse ? output - 1 - i : i;
        float* to = weights + static_cast<int64_t>(slot) * taps;
        for (int k = 0; k < taps; k++) to[k] = 0.0f;
        float sum = 0.0f;
        for (int k = 0; k < wanted; k++)
        {
            int j = start + k;
            const float weight = resize_kernel(bicubic, __fsub_rn(j + 0.5f, center) / widen);
            if (clamp_outside) j = max(0, min(j, input - 1));
            if (j < from || j >= from + taps) continue;
            to[j - from] = __fadd_rn(to[j - from], weight);
            sum = __fadd_rn(sum, weight);
        }
        for (int k = 0; k < taps; k++) to[k] = to[k] / sum;
        first[slot] = from;
    }
    return taps;
}

// Crop, resize and flip: columns of the crop mix first, then rows. Ends without a barrier: plane pixel i is thread
// (i mod blockDim)'s own.
DEV void resize(float* planes, float* spare, const unsigned char* image, const ViewEntry& p, const ViewSizes& s)
{
    // the tables lie behind the spare plane
    int* first_row = reinterpret_cast<int*>(spare + s.spare_floats);
    float* row_weights = reinterpret_cast<float*>(first_row + s.out_height);
    int* first_column = reinterpret_cast<int*>(row_weights + static_cast<int64_t>(s.out_height) * s.vertical_taps);
    float* column_weights = reinterpret_cast<float*>(first_column + s.out_width);
    const bool bicubic = p.flags & Bicubic, antialias = p.flags & Antialias;
    const int row_taps = fill_resample(first_row, row_weights, p.height, s.out_height, s.vertical_taps, bicubic, antialias, false);
    const int column_taps =
        fill_resample(first_column, column_weights, p.width, s.out_width, s.horizontal_taps, bicubic, antialias, p.flags & Flip);
    const int pixels = s.out_height * s.out_width;
    for (int c = 0; c < s.channels; c++)
    {
        __syncthreads(); // the tables are filled; the last channel's rows are read
        const unsigned char* corner = image + (static_cast<int64_t>(c) * s.height + p.top) * s.width + p.left;
        for (int i = threadIdx.x; i < s.out_height * p.width; i += blockDim.x)
        {
            const int y = i / p.width, x = i - y * p.width;
            const float* weights = row_weights + static_cast<int64_t>(y) * row_taps;
            const unsigned char* from = corner + static_cast<int64_t>(first_row[y]) * s.width + x;
            float sum = __fmul_rn(weights[0], unit_of(from, 0));
            for (int k = 1; k < row_taps; k++) sum = fmaf(weights[k], unit_of(from, static_cast<int64_t>(k) * s.width), sum);
            spare[i] = sum;
        }
        __syncthreads(); // every mixed row is there
        float* plane = planes + static_cast<int64_t>(c) * pixels;
        for (int i = threadIdx.x; i < pixels; i += blockDim.x)
        {
            const int y = i / s.out_width, x = i - y * s.out_width;
            const float* weights = column_weights + static_cast<int64_t>(x) * column_taps;
            const float* from = spare + static_cast<int64_t>(y) * p.width + first_column[x];
            float sum = __fmul_rn(weights[0], from[0]);
            for (int k = 1; k < column_taps; k++) sum = fmaf(weights[k], from[k], sum);
            plane[i] = clamp01(sum);
        }
    }
}

// A pixel of the image, black outside.
DEV float pixel_or_black(const unsigned char* plane, const ViewSizes& s, int y, int x)
{
    return y >= 0 && y < s.height && x >= 0 && x < s.width ? unit_of(plane, static_cast<int64_t>(y) * s.width + x) : 0.0f;
}

// Crop, turn, shear, shift and flip, bilinear. Pixel i is thread (i mod blockDim)'s own.
DEV void warp(float* planes, const unsigned char* image, const ViewEntry& p, const ViewSizes& s)
{
    const int pixels = s.out_height * s.out_width;
    for (int i = threadIdx.x; i < pixels; i += blockDim.x)
    {
        const int y = i / s.out_width, x = i - y * s.out_width;
        const float u = x + 0.5f - s.out_width * 0.5f, v = y + (0.5f - s.out_height * 0.5f); // exact
        const float start_x = __fsub_rn(__fadd_rn(__fmul_rn(p.xx, u), p.x0), 0.5f);
        const float start_y = __fsub_rn(__fadd_rn(__fmul_rn(p.yx, u), p.y0), 0.5f);
        const float sx = fminf(fmaxf(fmaf(p.xy, v, start_x), -1.0f), static_cast<float>(s.width));
        const float sy = fminf(fmaxf(fmaf(p.yy, v, start_y), -1.0f), static_cast<float>(s.height));
        const float left = floorf(sx), top = floorf(sy), fx = __fsub_rn(sx, left), fy = __fsub_rn(sy, top);
        const int column = static_cast<int>(left), row = static_cast<int>(top);
        for (int c = 0; c < s.channels; c++)
        {
            const unsigned char* from = image + static_cast<int64_t>(c) * s.height * s.width;
            const float a = pixel_or_black(from, s, row, column), b = pixel_or_black(from, s, row, column + 1);
            const float d = pixel_or_black(from, s, row + 1, column), e = pixel_or_black(from, s, row + 1, column + 1);
            const float upper = fmaf(fx, __fsub_rn(b, a), a), lower = fmaf(fx, __fsub_rn(e, d), d);
            planes[static_cast<int64_t>(c) * pixels + i] = fmaf(fy, __fsub_rn(lower, upper), upper);
        }
    }
}

DEV void saturate(float& r, float& g, float& b, float factor)
{
    const float rest = __fmul_rn(__fsub_rn(1.0f, factor), grey_of(r, g, b));
    r = clamp01(fmaf(factor, r, rest));
    g = clamp01(fmaf(factor, g, rest));
    b = clamp01(fmaf(factor, b, rest));
}

DEV float hue_channel(float hue, float n, float v, float c)
{
    float k = __fadd_rn(hue, n);
    k = __fsub_rn(k, __fmul_rn(6.0f, floorf(__fmul_rn(k, 1.0f / 6))));
    const float other = __fsub_rn(4.0f, k);
    return __fsub_rn(v, __fmul_rn(c, clamp01(k < other ? k : other)));
}

DEV void turn_hue(float& r, float& g, float& b, float sixths)
{
    const float v = fmaxf(r, fmaxf(g, b)), c = __fsub_rn(v, fminf(r, fminf(g, b)));
    const float inverse = 1.0f / fmaxf(c, 1e-20f); // grey has no hue; its chroma of 0 makes any right
    float hue = v > r ? v > g ? fmaf(__fsub_rn(r, g), inverse, 4.0f) : fmaf(__fsub_rn(b, r), inverse, 2.0f)
                      : __fmul_rn(__fsub_rn(g, b), inverse);
    hue = __fadd_rn(hue, sixths);
    r = hue_channel(hue, 5.0f, v, c);
    g = hue_channel(hue, 3.0f, v, c);
    b = hue_channel(hue, 1.0f, v, c);
}

// The jitter's operations in their order, and the greyscale. Each thread works on its own pixels, as resize and warp
// left them to it; only contrast's mean is everybody's.
DEV void colour(float* planes, double* sums, const ViewEntry& p, const ViewSizes& s)
{
    const int pixels = s.out_height * s.out_width;
    float* red = planes;
    float* green = planes + (s.channels == 3 ? pixels : 0);
    float* blue = planes + (s.channels == 3 ? 2 * static_cast<int64_t>(pixels) : 0);
    const bool coloured = s.channels == 3;
    for (int n = 0; n < 5; n++) // four of the jitter, then greyscale
    {
        const int operation = n < 4 ? p.jitter >> 4 * n & 15 : Saturation;
        const float factor = n == 4 ? 0.0f : operation == Brightness ? p.brightness : operation == Contrast ? p.contrast : p.saturation;
        if (n == 4 && !(p.flags & Greyscale)) break;
        if (operation > Hue || (operation >= Saturation && !coloured)) continue;
        float rest = 0.0f;
        if (operation == Contrast)
        {
            double sum = 0;
            for (int i = threadIdx.x; i < pixels; i += blockDim.x) sum += coloured ? grey_of(red[i], green[i], blue[i]) : red[i];
            const float mean = static_cast<float>(block_sum(sum, sums) / pixels);
            rest = __fmul_rn(__fsub_rn(1.0f, factor), mean);
        }
        for (int i = threadIdx.x; i < pixels; i += blockDim.x)
        {
            float r = red[i], g = green[i], b = blue[i];
            if (operation == Brightness)
                r = clamp01(__fmul_rn(factor, r)), g = clamp01(__fmul_rn(factor, g)), b = clamp01(__fmul_rn(factor, b));
            else if (operation == Contrast)
                r = clamp01(fmaf(factor, r, rest)), g = clamp01(fmaf(factor, g, rest)), b = clamp01(fmaf(factor, b, rest));
            else if (operation == Saturation)
                saturate(r, g, b, factor);
            else
                turn_hue(r, g, b, p.hue_sixths);
            red[i] = r;
            if (coloured) green[i] = g, blue[i] = b;
        }
    }
}

// Gaussian, separable, the border reflected without repeating it: columns mix first, then rows.
DEV void blur(float* planes, float* spare, const ViewEntry& p, const ViewSizes& s)
{
    float* weights = spare + s.spare_floats; // where the resize's tables were
    const int taps = 2 * p.blur_radius + 1, pixels = s.out_height * s.out_width;
    const auto bell = [&](int k) {
        const float distance = (k - p.blur_radius) / p.blur_sigma;
        return expf(__fmul_rn(__fmul_rn(-0.5f, distance), distance));
    };
    __syncthreads(); // the resize's tables are read
    float total = 0.0f; // every thread in the same order
    for (int k = 0; k < taps; k++) total = __fadd_rn(total, bell(k));
    for (int k = threadIdx.x; k < taps; k += blockDim.x) weights[k] = bell(k) / total;
    for (int c = 0; c < s.channels; c++)
    {
        float* plane = planes + static_cast<int64_t>(c) * pixels;
        __syncthreads(); // the weights and this plane are written; the last plane's columns are read
        for (int i = threadIdx.x; i < pixels; i += blockDim.x)
        {
            const int y = i / s.out_width, x = i - y * s.out_width;
            const float* row = plane + static_cast<int64_t>(y) * s.out_width;
            float sum = 0.0f;
            for (int k = 0; k < taps; k++) sum = fmaf(weights[k], row[reflect(x + k - p.blur_radius, s.out_width)], sum);
            spare[i] = sum;
        }
        __syncthreads(); // every mixed column is there
        for (int i = threadIdx.x; i < pixels; i += blockDim.x)
        {
            const int y = i / s.out_width, x = i - y * s.out_width;
            float sum = 0.0f;
            for (int k = 0; k < taps; k++)
            {
                const float value = spare[static_cast<int64_t>(reflect(y + k - p.blur_radius, s.out_height)) * s.out_width + x];
                sum = fmaf(weights[k], value, sum);
            }
            plane[i] = sum;
        }
    }
}

// Solarize and noise, in the order of the noise's numbers: element e = (channel out_width + x) out_height + y draws word
// e mod 4 of Philox block 1 + e / 4, so a thread has four elements at a time.
DEV void solarize_and_noise(float* planes, const ViewEntry& p, const ViewSizes& s)
{
    const int pixels = s.out_height * s.out_width;
    const int64_t elements = static_cast<int64_t>(s.channels) * pixels;
    const uint64_t seed = p.seed_low | static_cast<uint64_t>(p.seed_high) << 32;
    const uint64_t stream = p.epoch | static_cast<uint64_t>(p.noise_domain) << 32;
    for (int64_t group = threadIdx.x; 4 * group < elements; group += blockDim.x)
    {
        uint32_t words[4] = {0, 0, 0, 0};
        if (p.noise_scale > 0.0f)
        {
            const PhiloxBlock bits = philox_block((1 + group) | static_cast<uint64_t>(p.sample) << 32, stream, seed);
            words[0] = bits.x, words[1] = bits.y, words[2] = bits.z, words[3] = bits.w;
        }
        for (int k = 0; k < 4 && 4 * group + k < elements; k++)
        {
            const int64_t element = 4 * group + k;
            const int column = static_cast<int>(quotient(element, s.out_height)), y = static_cast<int>(element - static_cast<int64_t>(column) * s.out_height);
            const int c = column / s.out_width, x = column - c * s.out_width;
            float& pixel = planes[static_cast<int64_t>(c) * pixels + static_cast<int64_t>(y) * s.out_width + x];
            float value = pixel;
            if ((p.flags & Solarize) && !(p.solarize_threshold > value)) value = __fsub_rn(1.0f, value);
            if (p.noise_scale > 0.0f)
            {
                const uint32_t pairs = (words[k] & 0x00ff00ffu) + (words[k] >> 8 & 0x00ff00ffu);
                const int sum = static_cast<int>((pairs & 0xffffu) + (pairs >> 16));
                value = clamp01(__fadd_rn(value, __fmul_rn(static_cast<float>(sum - 510), p.noise_scale)));
            }
            pixel = value;
        }
    }
}

// One view from its bytes to its numbers; every thread of the block takes part. `memory` holds the planes, a spare plane,
// and the resize's tables or the blur's weights.
template <class T>
DEV void make_view(T* view, float* memory, double* sums, const unsigned char* images, const ViewEntry& p, const ViewSizes& s)
{
    const int pixels = s.out_height * s.out_width;
    const int elements = s.channels * pixels;
    const unsigned char* image = images + static_cast<int64_t>(p.image) * s.channels * s.height * s.width;
    float* planes = memory;
    float* spare = memory + elements;
    if (p.flags & Warp) warp(planes, image, p, s);
    else resize(planes, spare, image, p, s);
    colour(planes, sums, p, s);
    if (p.blur_sigma > 0.0f && p.blur_radius > 0) blur(planes, spare, p, s);
    if ((p.flags & Solarize) || p.noise_scale > 0.0f)
    {
        __syncthreads(); // pixels change hands: the noise counts them along columns
        solarize_and_noise(planes, p, s);
    }
    __syncthreads(); // and again: the view is stored channels innermost
    for (int e = threadIdx.x; e < elements; e += blockDim.x)
    {
        const int pixel = e / s.channels, c = e - pixel * s.channels;
        store(view[e], __fadd_rn(__fmul_rn(planes[static_cast<int64_t>(c) * pixels + pixel], p.factor[c]), p.offset[c]));
    }
    __syncthreads(); // the planes are read before the next view's are written
}

// Each block takes every (grid size)-th view, with the planes in its shared memory.
template <class T>
DEV void views_in_shared(T* views, const unsigned char* images, const ViewEntry* entries, const ViewSizes& sizes, int count)
{
    SHARED(double, sums, [8]);
    DYN_SHARED(float, memory);
    const int64_t elements = static_cast<int64_t>(sizes.channels) * sizes.out_height * sizes.out_width;
    for (int v = blockIdx.x; v < count; v += gridDim.x)
        make_view(views + v * elements, memory, sums, images, entries[v], sizes);
}

// The same with the planes in its part of a scratch in global memory.
template <class T>
DEV void views_in_global(T* views, float* scratch, const unsigned char* images, const ViewEntry* entries,
                         const ViewSizes& sizes, int64_t floats_per_block, int count)
{
    SHARED(double, sums, [16]);
    const int64_t elements = static_cast<int64_t>(sizes.channels) * sizes.out_height * sizes.out_width;
    for (int v = blockIdx.x; v < count; v += gridDim.x)
        make_view(views + v * elements, scratch + blockIdx.x * floats_per_block, sums, images, entries[v], sizes);
}

// Any grid. Dynamic shared memory: floats_per_block floats, as Augment.Cuda.cs counts them.
extern "C" __global__ void __launch_bounds__(256) views_shared(float* __restrict__ views,                // [views, out_height, out_width, channels]
                                                               const unsigned char* __restrict__ images, // [images, channels, height, width]
                                                               const ViewEntry* __restrict__ entries,    // [views]
                                                               ViewSizes sizes, int count)
{
    views_in_shared(views, images, entries, sizes, count);
}

extern "C" __global__ void __launch_bounds__(256) views_shared_bf16(bf16* __restrict__ views,                 // [views, out_height, out_width, channels]
                                                                    const unsigned char* __restrict__ images, // [images, channels, height, width]
                                                                    const ViewEntry* __restrict__ entries,    // [views]
                                                                    ViewSizes sizes, int count)
{
    views_in_shared(views, images, entries, sizes, count);
}

// Any grid. scratch = [blocks, floats_per_block].
extern "C" __global__ void __launch_bounds__(512) views_global(float* __restrict__ views,                // [views, out_height, out_width, channels]
                                                               float* scratch,                           // [blocks, floats_per_block]
                                                               const unsigned char* __restrict__ images, // [images, channels, height, width]
                                                               const ViewEntry* __restrict__ entries,    // [views]
                                                               ViewSizes sizes, int64_t floats_per_block, int count)
{
    views_in_global(views, scratch, images, entries, sizes, floats_per_block, count);
}

extern "C" __global__ void __launch_bounds__(512) views_global_bf16(bf16* __restrict__ views,                 // [views, out_height, out_width, channels]
                                                                    float* scratch,                           // [blocks, floats_per_block]
                                                                    const unsigned char* __restrict__ images, // [images, channels, height, width]
                                                                    const ViewEntry* __restrict__ entries,    // [views]
                                                                    ViewSizes sizes, int64_t floats_per_block, int count)
{
    views_in_global(views, scratch, images, entries, sizes, floats_per_block, count);
}
