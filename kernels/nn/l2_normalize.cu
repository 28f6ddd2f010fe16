// Rows scaled to Euclidean length 1.
//
// Forward:  m = max_d |x_d|, r = 1 / sqrt(Sum (x_d / m)^2), z = (x / m) r; z = 0 where m = 0.   x, z: [rows, dim]
// Backward: grad_x = (grad_z - z (z . grad_z)) r / m; 0 where m = 0.
//
// Dividing by m first keeps the squares from over- and underflowing, so that only an all-zero row has no length.
// Saved for backward: z and scales = [2, rows], m then r. Overwrites its outputs. A warp per row, eight rows per block.
// Launched by Ops/L2Normalize.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

extern "C" __global__ void __launch_bounds__(Threads) l2_normalize_forward(float* __restrict__ z,       // [rows, dim]
                                                                           float* __restrict__ scales,  // [2, rows]
                                                                           const float* __restrict__ x, // [rows, dim]
                                                                           int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* from = x + row * dim;
    float* to = z + row * dim;

    float largest = 0.0f;
    for (int d = lane; d < dim; d += 32) largest = max_op(largest, fabsf(from[d]));
    largest = warp_max(largest);
    float inverse = 0.0f;
    if (largest == 0.0f)
    {
        for (int d = lane; d < dim; d += 32) to[d] = 0.0f;
    }
    else
    {
        float squares = 0.0f;
        for (int d = lane; d < dim; d += 32)
        {
            const float scaled = from[d] / largest;
            squares += scaled * scaled;
        }
        inverse = 1.0f / sqrtf(warp_sum(squares));
        for (int d = lane; d < dim; d += 32) to[d] = from[d] / largest * inverse;
    }
    if (lane != 0) return;
    scales[row] = largest;
    scales[rows + row] = inverse;
}

extern "C" __global__ void __launch_bounds__(Threads) l2_normalize_backward(float* __restrict__ grad_x,       // [rows, dim]
                                                                            const float* __restrict__ grad_z, // [rows, dim]
                                                                            const float* __restrict__ z,      // [rows, dim]
                                                                            const float* __restrict__ scales, // [2, rows]
                                                                            int rows, int dim)
{
    const int lane = threadIdx.x % 32;
    const int64_t row = blockIdx.x * static_cast<int64_t>(Threads / 32) + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* unit = z + row * dim;
    const float* grad_unit = grad_z + row * dim;
    float* to = grad_x + row * dim;
    const float largest = scales[row], inverse = scales[rows + row];
    if (largest == 0.0f) // the same for the whole warp
    {
        for (int d = lane; d < dim; d += 32) to[d] = 0.0f;
        return;
    }
    float along = 0.0f; // z . grad_z
    for (int d = lane; d < dim; d += 32) along += unit[d] * grad_unit[d];
    along = warp_sum(along);
    // r / m in two steps, since 1 / m overflows for subnormal m.
    for (int d = lane; d < dim; d += 32) to[d] = (grad_unit[d] - unit[d] * along) * inverse / largest;
}
