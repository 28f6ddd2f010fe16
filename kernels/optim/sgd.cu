// One step of stochastic gradient descent over all tensors of a model, in place, with u = grad + decay p:
//
//   m <- momentum m + u
//   p <- p - rate m, or p - rate (u + momentum m) with Nesterov, or p - rate u without momentum (first is null)
//
// Elementwise; 5 floats moved per element. Launched by Ops/SgdStep.Cuda.cs.
#include "common/prelude.cuh"

// Grid: a block per chunk.
extern "C" __global__ void __launch_bounds__(256) sgd_step(const TensorEntry* __restrict__ table, // [tensors]
                                                           float rate, float momentum, int nesterov, int tensors)
{
    const TensorChunk chunk = chunk_of(table, tensors, blockIdx.x);
    float* __restrict__ parameter = chunk.tensor.parameter;
    float* __restrict__ buffer = chunk.tensor.first;
    const float* __restrict__ grad = chunk.tensor.source;
    for (int64_t i = chunk.start + threadIdx.x; i < chunk.end; i += 256)
    {
        float update = grad[i] + chunk.tensor.decay * parameter[i];
        if (buffer != nullptr)
        {
            const float m = momentum * buffer[i] + update;
            buffer[i] = m;
            update = nesterov ? update + momentum * m : m;
        }
        parameter[i] -= rate * update;
    }
}
