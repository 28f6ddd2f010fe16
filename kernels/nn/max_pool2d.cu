// The largest value under a square window.             x: [images, height, width, channels], y: [images, out, out, channels]
//
// Forward:  y = max over the window of x; padding never wins, NaN always does.
// Backward: each grad_y goes to the first place of its window, row by row, that holds the maximum (or to the window's
//           first where the maximum is NaN). Every element of grad_x gathers from the windows above it, in their order:
//           no atomics.
//
// In float32 or bfloat16, whose largest value is one of the numbers. Saved for backward: x and y. Overwrites its outputs. Any grid: each thread takes every (grid size)-th element of the
// output. Launched by Ops/MaxPool2d.Cuda.cs.
// No tensor cores: it forms no products of matrices.
#include "common/prelude.cuh"

template <class T> DEV void forward(T* y, const T* x, const PoolWindow& window, int64_t count)
{
    const int out_height = out_size(window.height, window), out_width = out_size(window.width, window);
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const Place at = place_of(i, out_height, out_width, window.channels);
        const Reach rows = under(at.row, window.height, window), columns = under(at.column, window.width, window);
        float best = -INFINITY;
        for (int row = rows.from; row < rows.to; row++)
            for (int column = columns.from; column < columns.to; column++)
                best = max_op(best, to_float(x[((at.image * window.height + row) * window.width + column) * window.channels + at.channel]));
        store(y[i], best);
    }
}

// Whether no place of the window before (row, column), row by row, holds its maximum.
template <class T> DEV bool is_first(const T* x, float maximum, int row, int column, Reach rows, Reach columns, const PoolWindow& window)
{
    for (int r = rows.from; r <= row; r++)
        for (int c = columns.from; c < columns.to; c++)
        {
            if (r == row && c == column) return true;
            if (!(maximum > to_float(x[(static_cast<int64_t>(r) * window.width + c) * window.channels]))) return false;
        }
    return true;
}

template <class T> DEV void backward(T* grad_x, const T* grad_y, const T* x, const T* y, const PoolWindow& window, int64_t count)
{
    const int out_height = out_size(window.height, window), out_width = out_size(window.width, window);
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const Place at = place_of(i, window.height, window.width, window.channels);
        const Reach windows = above(at.row, window.height, window), across = above(at.column, window.width, window);
        const T* channel = x + at.image * window.height * window.width * window.channels + at.channel;
        float sum = 0.0f;
        for (int row = windows.from; row < windows.to; row++)
            for (int column = across.from; column < across.to; column++)
            {
                const int64_t out = ((at.image * out_height + row) * out_width + column) * window.channels + at.channel;
                const float maximum = to_float(y[out]);
                if (maximum > to_float(x[i])) continue; // as nearly all are: no need to look at the window
                if (is_first(channel, maximum, at.row, at.column, under(row, window.height, window),
                             under(column, window.width, window), window))
                    sum += to_float(grad_y[out]);
            }
        store(grad_x[i], sum);
    }
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d_forward(float* __restrict__ y, const float* __restrict__ x,
                                                                     const PoolWindow window, int64_t count)
{
    forward(y, x, window, count);
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d_forward_bf16(bf16* __restrict__ y, const bf16* __restrict__ x,
                                                                          const PoolWindow window, int64_t count)
{
    forward(y, x, window, count);
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d_backward(float* __restrict__ grad_x, const float* __restrict__ grad_y,
                                                                      const float* __restrict__ x, const float* __restrict__ y,
                                                                      const PoolWindow window, int64_t count)
{
    backward(grad_x, grad_y, x, y, window, count);
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d_backward_bf16(bf16* __restrict__ grad_x, const bf16* __restrict__ grad_y,
                                                                           const bf16* __restrict__ x, const bf16* __restrict__ y,
                                                                           const PoolWindow window, int64_t count)
{
    backward(grad_x, grad_y, x, y, window, count);
}
