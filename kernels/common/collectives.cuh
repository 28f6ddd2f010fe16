// Reductions, named by scope. Every thread of the scope must take part, and every thread gets the result.
#pragma once

DEV float add_op(float a, float b) { return a + b; }
DEV double add_op64(double a, double b) { return a + b; }

// The greater; NaN if either is NaN (fmaxf would hide it).
DEV float max_op(float a, float b) { return a > b || a != a ? a : b; }

// Sum, or maximum, over each aligned group of LANES lanes of a warp.
template <int LANES = 32> DEV float warp_sum(float value) { return WARP_ALL_REDUCE(LANES, value, add_op); }
template <int LANES = 32> DEV float warp_max(float value) { return WARP_ALL_REDUCE(LANES, value, max_op); }
template <int LANES = 32> DEV double warp_sum(double value) { return WARP_ALL_REDUCE(LANES, value, add_op64); }

// Sum over a block of whole warps, in a fixed order. `scratch` holds one element per warp.
template <class T> DEV T block_sum(T value, T* scratch)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = warp_sum(value);
    __syncthreads(); // scratch may still be read from the last call
    if (lane == 0) scratch[warp] = value;
    __syncthreads(); // every warp's sum is there
    T sum = 0;
    for (int w = 0; w < warps; w++) sum += scratch[w];
    return sum;
}
