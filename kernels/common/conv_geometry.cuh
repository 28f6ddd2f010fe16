// Where a convolution's numbers are: for conv2d.cu, which has the formulas, and conv2d_bf16.cu.
#pragma once

struct ConvSizes
{
    int height, width, channels, filters, kernel_height, kernel_width, stride, padding, out_height, out_width;
};

// Of a filter, by its number: channels innermost.
struct Tap
{
    int r, s, c;

    __device__ Tap() {}
    __device__ Tap(int tap, const ConvSizes& g)
    {
        const int rs = tap / g.channels;
        c = tap % g.channels;
        s = rs % g.kernel_width;
        r = rs / g.kernel_width;
    }
};

// The pixels of x whose y mod stride and x mod stride are given, and the taps that reach them: r = first_r + t stride
// for t < taps_r, likewise s. Pixel (a, b) of the phase is y = phase_y + a stride and gets from row a + base_i - t of y.
struct Phase
{
    int y, x, rows, columns; // its first pixel, and how many
    int first_r, first_s, taps_r, taps_s;
    int base_i, base_j;

    __device__ Phase(int number, const ConvSizes& g)
    {
        const int across = min(g.stride, g.width);
        y = number / across;
        x = number % across;
        rows = (g.height - 1 - y) / g.stride + 1;
        columns = (g.width - 1 - x) / g.stride + 1;
        first_r = (y + g.padding) % g.stride;
        first_s = (x + g.padding) % g.stride;
        taps_r = first_r < g.kernel_height ? (g.kernel_height - 1 - first_r) / g.stride + 1 : 0;
        taps_s = first_s < g.kernel_width ? (g.kernel_width - 1 - first_s) / g.stride + 1 : 0;
        base_i = (y + g.padding) / g.stride;
        base_j = (x + g.padding) / g.stride;
    }

    // Pixel `number` of the phase as an index of x's pixels.
    __device__ int64_t pixel(int number, const ConvSizes& g) const
    {
        const int b = number % columns, rest = number / columns, a = rest % rows, n = rest / rows;
        return (static_cast<int64_t>(n) * g.height + y + a * g.stride) * g.width + x + b * g.stride;
    }
};
