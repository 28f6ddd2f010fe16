// One step of stochastic gradient descent, in place, with u = grad + decay p:
//
//   m <- momentum m + u
//   p <- p - rate m, or p - rate (u + momentum m) with Nesterov, or p - rate u without momentum (no buffer)
//
// Elementwise; 5 floats moved per element. Launched by Ops/SgdStep.Cuda.cs.
#include "common/prelude.cuh"

// Any grid: each thread takes every (grid size)-th element.
extern "C" __global__ void __launch_bounds__(256) sgd_step(float* __restrict__ parameter,  // [count]
                                                           float* __restrict__ buffer,     // [count] m, or null
                                                           const float* __restrict__ grad, // [count]
                                                           float rate, float momentum, float decay, int nesterov, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    {
        float update = grad[i] + decay * parameter[i];
        if (buffer != nullptr)
        {
            const float m = momentum * buffer[i] + update;
            buffer[i] = m;
            update = nesterov ? update + momentum * m : m;
        }
        parameter[i] -= rate * update;
    }
}
