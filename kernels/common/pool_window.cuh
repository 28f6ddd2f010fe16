// A square window sliding over [images, height, width, channels]: for the pooling kernels. Part of the prelude.
#pragma once

// Passed by value: Ops/PoolWindow.cs.
struct PoolWindow
{
    int images, channels, height, width, kernel, stride, padding;
};

DEV int out_size(int size, const PoolWindow& w) { return (size + 2 * w.padding - w.kernel) / w.stride + 1; }

// A half-open range.
struct Reach
{
    int from, to;
};

// The rows, or columns, of x under a window.
DEV Reach under(int output, int size, const PoolWindow& w)
{
    const int first = output * w.stride - w.padding;
    return {max(0, first), min(size, first + w.kernel)};
}

// The windows above a row, or column, of x.
DEV Reach above(int input, int size, const PoolWindow& w)
{
    const int last = input + w.padding, first = last - w.kernel + 1;
    return {first <= 0 ? 0 : (first + w.stride - 1) / w.stride, min(out_size(size, w), last / w.stride + 1)};
}

struct Place
{
    int64_t image;
    int row, column, channel;
};

// Of the i-th element of [images, height, width, channels].
DEV Place place_of(int64_t i, int height, int width, int channels)
{
    const int64_t pixel = quotient(i, channels), line = quotient(pixel, width), image = quotient(line, height);
    return {image, static_cast<int>(line - image * height), static_cast<int>(pixel - line * width),
            static_cast<int>(i - pixel * channels)};
}
