// What a device can do at best, for `bench kernels`: nothing, and exponentials alone. Launched by Devices/DeviceCeilings.cs.
#include "common/prelude.cuh"

// Does nothing: the time of a launch.
extern "C" __global__ void empty_kernel() {}

// sums[t] = Σ_{k < repeats} exp(−(t mod 64 + k) / 64), four chains a thread so that the exponential's latency is hidden.
// Overwrites sums; any grid, one sum for each of its threads.
extern "C" __global__ void __launch_bounds__(256) exp_only(float* __restrict__ sums, // [grid size × block size]
                                                           int repeats)              // a multiple of 4
{
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const float step = -1.0f / 64.0f, start = step * static_cast<float>(thread % 64);
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    for (int k = 0; k < repeats; k += 4)
    {
        const float x = start + step * static_cast<float>(k);
        a += expf(x);
        b += expf(x + step);
        c += expf(x + 2.0f * step);
        d += expf(x + 3.0f * step);
    }
    sums[thread] = (a + b) + (c + d);
}
