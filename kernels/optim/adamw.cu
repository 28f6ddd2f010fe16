// One step of AdamW (Loshchilov, Hutter 2019), in place; c1 = 1 - beta1^t, c2 = 1 - beta2^t after t steps:
//
//   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
//   p <- keep p - rate m / (sqrt(v) square_scale + epsilon)
//       with keep = 1 - (learning rate) decay, rate = (learning rate) / c1, square_scale = 1 / sqrt(c2)
//
// Elementwise; 7 floats moved per element. Launched by Ops/AdamWStep.Cuda.cs.
#include "common/prelude.cuh"

// Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(256) adamw_step(float* __restrict__ parameter,  // [count]
                                                             float* __restrict__ mean,       // [count] m
                                                             float* __restrict__ square,     // [count] v
                                                             const float* __restrict__ grad, // [count]
                                                             float beta1, float beta2, float rate, float square_scale,
                                                             float epsilon, float keep, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    {
        const float g = grad[i];
        const float m = beta1 * mean[i] + (1.0f - beta1) * g, v = beta2 * square[i] + (1.0f - beta2) * (g * g);
        mean[i] = m;
        square[i] = v;
        parameter[i] = keep * parameter[i] - rate * (m / (sqrtf(v) * square_scale + epsilon));
    }
}
