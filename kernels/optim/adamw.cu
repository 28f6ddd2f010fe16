// One step of AdamW (Loshchilov, Hutter 2019) over all tensors of a model, in place; c1 = 1 - beta1^t, c2 = 1 - beta2^t
// after t steps:
//
//   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
//   p <- (1 - learning_rate decay) p - rate m / (sqrt(v) square_scale + epsilon)
//       with rate = learning_rate / c1, square_scale = 1 / sqrt(c2); m is the table's first, v its second
//
// Elementwise; 7 floats moved per element. Launched by Ops/AdamWStep.Cuda.cs.
#include "common/prelude.cuh"

// Grid: a block per chunk.
extern "C" __global__ void __launch_bounds__(256) adamw_step(const TensorEntry* __restrict__ table, // [tensors]
                                                             float beta1, float beta2, float rate, float square_scale,
                                                             float epsilon, double learning_rate, int tensors)
{
    const TensorChunk chunk = chunk_of(table, tensors, blockIdx.x);
    float* __restrict__ parameter = chunk.tensor.parameter;
    float* __restrict__ mean = chunk.tensor.first;
    float* __restrict__ square = chunk.tensor.second;
    const float* __restrict__ grad = chunk.tensor.source;
    const float keep = static_cast<float>(1.0 - learning_rate * chunk.tensor.decay);
    for (int64_t i = chunk.start + threadIdx.x; i < chunk.end; i += 256)
    {
        const float g = grad[i];
        const float m = beta1 * mean[i] + (1.0f - beta1) * g, v = beta2 * square[i] + (1.0f - beta2) * (g * g);
        mean[i] = m;
        square[i] = v;
        parameter[i] = keep * parameter[i] - rate * (m / (sqrtf(v) * square_scale + epsilon));
    }
}
