// The mean under a square window.                      x: [images, height, width, channels], y: [images, out, out, channels]
//
// Forward:  y = Sum over the window of x / kernel^2; padding counts as zeros.
// Backward: grad_x = Sum over the windows above of grad_y / kernel^2, gathered in their order: no atomics.
//
// Saves nothing. Overwrites its outputs. Any grid: each thread takes every (grid size)-th element of the output.
// Launched by Ops/AvgPool2d.Cuda.cs.
#include "common/prelude.cuh"

extern "C" __global__ void __launch_bounds__(256) avg_pool2d_forward(float* __restrict__ y, const float* __restrict__ x,
                                                                     const PoolWindow window, int64_t count)
{
    const int out_height = out_size(window.height, window), out_width = out_size(window.width, window);
    const float scale = 1.0f / (window.kernel * window.kernel);
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const Place at = place_of(i, out_height, out_width, window.channels);
        const Reach rows = under(at.row, window.height, window), columns = under(at.column, window.width, window);
        float sum = 0.0f;
        for (int row = rows.from; row < rows.to; row++)
            for (int column = columns.from; column < columns.to; column++)
                sum += x[((at.image * window.height + row) * window.width + column) * window.channels + at.channel];
        y[i] = sum * scale;
    }
}

extern "C" __global__ void __launch_bounds__(256) avg_pool2d_backward(float* __restrict__ grad_x, const float* __restrict__ grad_y,
                                                                      const PoolWindow window, int64_t count)
{
    const int out_height = out_size(window.height, window), out_width = out_size(window.width, window);
    const float scale = 1.0f / (window.kernel * window.kernel);
    for (int64_t i = grid_thread(); i < count; i += grid_threads())
    {
        const Place at = place_of(i, window.height, window.width, window.channels);
        const Reach windows = above(at.row, window.height, window), across = above(at.column, window.width, window);
        float sum = 0.0f;
        for (int row = windows.from; row < windows.to; row++)
            for (int column = across.from; column < across.to; column++)
                sum += grad_y[((at.image * out_height + row) * out_width + column) * window.channels + at.channel];
        grad_x[i] = sum * scale;
    }
}
