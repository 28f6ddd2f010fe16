// A LARS step (You, Gitman, Ginsburg 2017) over all tensors of a model, in place, with u = grad + decay p:
//
//   ratio = trust |p| / |u|, or 1 where either norm is 0 or the tensor is not scaled
//   m <- momentum m + (inner ratio) u;  p <- p - outer m         m is the table's first
//
// Two launches, and the ratio never leaves the device: chunks' sums of squares, then the step, whose blocks each add up
// the sums of their own tensor, first to last. The partition depends on the sizes alone, so every run gives the same bits.
// 2 floats moved per element for the sums, 5 for the step. Launched by Ops/LarsStep.Cuda.cs.
#include "common/prelude.cuh"

constexpr int Threads = 256;

// Every chunk's sums of p^2 and u^2. Grid: a block per chunk.
extern "C" __global__ void __launch_bounds__(Threads) lars_squares(double* __restrict__ sums,             // [chunks, 2]
                                                                   const TensorEntry* __restrict__ table, // [tensors]
                                                                   int tensors)
{
    SHARED(double, scratch, [Threads / 32]);
    const TensorChunk chunk = chunk_of(table, tensors, blockIdx.x);
    if (!chunk.tensor.scaled) return; // its sums are not looked at
    double squares[2];
    sum_strided(squares, [&](int64_t i, float (&values)[2]) {
        const float p = chunk.tensor.parameter[i], u = chunk.tensor.source[i] + chunk.tensor.decay * p;
        values[0] = p * p;
        values[1] = u * u;
    }, chunk.start + threadIdx.x, chunk.end, Threads);
    for (int k = 0; k < 2; k++)
    {
        const double sum = block_sum(squares[k], scratch);
        if (threadIdx.x == 0) sums[2 * static_cast<int64_t>(blockIdx.x) + k] = sum;
    }
}

// Grid: a block per chunk.
extern "C" __global__ void __launch_bounds__(Threads) lars_step(const TensorEntry* __restrict__ table, // [tensors]
                                                                const double* __restrict__ sums,       // [chunks, 2]
                                                                double inner, float outer, float momentum, double trust, int tensors)
{
    SHARED(double, scratch, [Threads / 32]);
    const TensorChunk chunk = chunk_of(table, tensors, blockIdx.x);
    double ratio = 1;
    if (chunk.tensor.scaled)
    {
        const int64_t chunks = (chunk.tensor.count + ChunkElements - 1) / ChunkElements;
        const double* own = sums + 2 * chunk.tensor.first_chunk;
        double squares[2] = {0, 0};
        for (int64_t c = threadIdx.x; c < chunks; c += Threads)
            for (int k = 0; k < 2; k++) squares[k] += own[2 * c + k];
        const double of_parameter = sqrt(block_sum(squares[0], scratch)), of_update = sqrt(block_sum(squares[1], scratch));
        // a NaN fails both comparisons and must not pass for a ratio of 1
        ratio = of_parameter == 0 || of_update == 0 ? 1 : trust * of_parameter / of_update;
    }
    const float factor = static_cast<float>(inner * ratio);
    float* __restrict__ parameter = chunk.tensor.parameter;
    float* __restrict__ buffer = chunk.tensor.first;
    const float* __restrict__ grad = chunk.tensor.source;
    for (int64_t i = chunk.start + threadIdx.x; i < chunk.end; i += Threads)
    {
        const float p = parameter[i], m = momentum * buffer[i] + factor * (grad[i] + chunk.tensor.decay * p);
        buffer[i] = m;
        parameter[i] = p - outer * m;
    }
}
