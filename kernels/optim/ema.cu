// An exponential moving average of all tensors of a model, in place: p <- p + rate (source - p), rate = 1 - decay.
//
// In this form a tensor that equals its source keeps its bits. Elementwise; 3 floats moved per element.
// Launched by Ops/EmaStep.Cuda.cs.
#include "common/prelude.cuh"

// Grid: a block per chunk.
extern "C" __global__ void __launch_bounds__(256) ema_step(const TensorEntry* __restrict__ table, // [tensors]
                                                           float rate, int tensors)
{
    const TensorChunk chunk = chunk_of(table, tensors, blockIdx.x);
    float* __restrict__ parameter = chunk.tensor.parameter;
    const float* __restrict__ source = chunk.tensor.source;
    for (int64_t i = chunk.start + threadIdx.x; i < chunk.end; i += 256)
    {
        const float p = parameter[i];
        parameter[i] = p + rate * (source[i] - p);
    }
}
