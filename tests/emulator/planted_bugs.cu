// Kernels with one bug each, beside the same kernel without it (..._fixed). emulator_tests.cpp says how each must be
// caught. One block of 256 threads unless said otherwise; in[i] = i + 1.
#include "common/prelude.cuh"
#include "common/wgmma.cuh"

constexpr int N = 256;

// Bug: the neighbour's element is read before it is certain to be there.
template <bool Fixed> DEV void read_after_write(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    s[t] = in[t];
    if (Fixed) __syncthreads(); // every element is there
    out[t] = s[N - 1 - t];
}
extern "C" __global__ void missing_syncthreads(float* out, const float* in) { read_after_write<false>(out, in); }
extern "C" __global__ void missing_syncthreads_fixed(float* out, const float* in) { read_after_write<true>(out, in); }

// Bug: the second round overwrites what others still read of the first.
template <bool Fixed> DEV void two_rounds(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    float sum = 0;
    for (int round = 0; round < 2; round++)
    {
        s[t] = in[t] * (round + 1);
        __syncthreads(); // every element is there
        sum += s[N - 1 - t];
        if (Fixed) __syncthreads(); // nobody reads any more
    }
    out[t] = sum;
}
extern "C" __global__ void buffer_reuse(float* out, const float* in) { two_rounds<false>(out, in); }
extern "C" __global__ void buffer_reuse_fixed(float* out, const float* in) { two_rounds<true>(out, in); }

// Bug: with two buffers and one barrier a round, a fast thread fills a buffer again before a slow one has read it.
template <bool Fixed> DEV void double_buffer(float* out, const float* in)
{
    SHARED(float, s, [2][N]);
    const int t = threadIdx.x;
    float sum = 0;
    s[0][t] = in[t];
    for (int round = 0; round < 4; round++)
    {
        if (Fixed) __syncthreads(); // this round's buffer is full, and nobody reads the other any more
        if (round < 3) s[(round + 1) % 2][t] = in[t] * (round + 2);
        if (!Fixed) __syncthreads(); // this round's buffer is full; but the other may still be read
        sum += s[round % 2][N - 1 - t];
    }
    out[t] = sum;
}
extern "C" __global__ void double_buffer_tail(float* out, const float* in) { double_buffer<false>(out, in); }
extern "C" __global__ void double_buffer_tail_fixed(float* out, const float* in) { double_buffer<true>(out, in); }

// Bug: a shuffle makes lanes meet, but orders no memory.
template <bool Fixed> DEV void warp_exchange(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    s[t] = in[t];
    float zero = __shfl_xor_sync(0xffffffffu, 0.0f, 1);
    if (Fixed) __syncwarp(); // the warp's elements are there
    out[t] = s[t ^ 1] + zero;
}
extern "C" __global__ void missing_syncwarp(float* out, const float* in) { warp_exchange<false>(out, in); }
extern "C" __global__ void missing_syncwarp_fixed(float* out, const float* in) { warp_exchange<true>(out, in); }

// Bug: copies are committed but not waited for.
template <bool Fixed> DEV void async_load(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    if (t < N / 4) cp_async16(&s[t * 4], in + t * 4, true);
    cp_async_commit();
    if (Fixed) cp_async_wait<0>();
    __syncthreads(); // every thread's copies are there
    out[t] = s[N - 1 - t];
    if (!Fixed) cp_async_wait<0>();
}
extern "C" __global__ void missing_cp_async_wait(float* out, const float* in) { async_load<false>(out, in); }
extern "C" __global__ void missing_cp_async_wait_fixed(float* out, const float* in) { async_load<true>(out, in); }

// Bug: the buffer is refilled while others still read it.
template <bool Fixed> DEV void async_refill(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads(); // every element is there
    if (!Fixed && t < N / 4) cp_async16(&s[t * 4], in, true);
    out[t] = s[N - 1 - t];
    if (Fixed) __syncthreads(); // nobody reads any more
    if (Fixed && t < N / 4) cp_async16(&s[t * 4], in, true);
    cp_async_commit();
    cp_async_wait<0>();
}
extern "C" __global__ void cp_async_too_early(float* out, const float* in) { async_refill<false>(out, in); }
extern "C" __global__ void cp_async_too_early_fixed(float* out, const float* in) { async_refill<true>(out, in); }

// Bug: a copy is still under way when the thread ends.
template <bool Fixed> DEV void forgotten_copy(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    if (t < N / 4) cp_async16(&s[t * 4], in + t * 4, true);
    cp_async_commit();
    if (Fixed) cp_async_wait<0>();
    out[t] = in[t];
}
extern "C" __global__ void cp_async_never_waited(float* out, const float* in) { forgotten_copy<false>(out, in); }
extern "C" __global__ void cp_async_never_waited_fixed(float* out, const float* in) { forgotten_copy<true>(out, in); }

// Bug: one element too far.
template <bool Fixed> DEV void shared_write(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    s[Fixed ? t : t + 1] = in[t];
    __syncthreads(); // every element is there
    out[t] = in[t];
}
extern "C" __global__ void shared_write_out_of_bounds(float* out, const float* in) { shared_write<false>(out, in); }
extern "C" __global__ void shared_write_out_of_bounds_fixed(float* out, const float* in) { shared_write<true>(out, in); }

template <bool Fixed> DEV void shared_read(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads(); // every element is there
    const float next = s[Fixed && t == N - 1 ? 0 : t + 1];
    out[t] = in[t] + (next == -1.0f ? 1.0f : 0.0f);
}
extern "C" __global__ void shared_read_out_of_bounds(float* out, const float* in) { shared_read<false>(out, in); }
extern "C" __global__ void shared_read_out_of_bounds_fixed(float* out, const float* in) { shared_read<true>(out, in); }

// Bug: one element too far.
extern "C" __global__ void device_write_out_of_bounds(float* out, const float* in) { out[threadIdx.x + 1] = in[threadIdx.x]; }
extern "C" __global__ void device_write_out_of_bounds_fixed(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }

template <bool Fixed> DEV void device_read(float* out, const float* in)
{
    const int t = threadIdx.x;
    const float next = in[Fixed && t == N - 1 ? 0 : t + 1];
    out[t] = in[t] + (next == -1.0f ? 1.0f : 0.0f);
}
extern "C" __global__ void device_read_out_of_bounds(float* out, const float* in) { device_read<false>(out, in); }
extern "C" __global__ void device_read_out_of_bounds_fixed(float* out, const float* in) { device_read<true>(out, in); }

// Bug: read before anything was written.
template <bool Fixed> DEV void uninitialised(float* out, const float* in)
{
    SHARED(float, s, [N]);
    const int t = threadIdx.x;
    if (Fixed || t != 7) s[t] = in[t];
    __syncthreads(); // every element is there
    out[t] = s[t];
}
extern "C" __global__ void uninitialised_shared(float* out, const float* in) { uninitialised<false>(out, in); }
extern "C" __global__ void uninitialised_shared_fixed(float* out, const float* in) { uninitialised<true>(out, in); }

extern "C" __global__ void uninitialised_device(float* out, const float* in) { out[threadIdx.x] += in[threadIdx.x]; }
extern "C" __global__ void uninitialised_device_fixed(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }

// Bug: the threads of a block stand at different barriers.
extern "C" __global__ void divergent_barrier(float* out, const float* in)
{
    if (threadIdx.x < 128) __syncthreads(); // planted
    else
        __syncthreads(); // planted
    out[threadIdx.x] = in[threadIdx.x];
}
extern "C" __global__ void divergent_barrier_fixed(float* out, const float* in)
{
    __syncthreads(); // nothing to order
    out[threadIdx.x] = in[threadIdx.x];
}

// Bug: one lane is missing from the warp's collective, and waits elsewhere.
template <bool Fixed> DEV void incomplete_warp(float* out, const float* in)
{
    const int t = threadIdx.x;
    if (Fixed || t != 5) __syncwarp();
    __syncthreads(); // nothing to order
    out[t] = in[t];
}
extern "C" __global__ void lane_missing(float* out, const float* in) { incomplete_warp<false>(out, in); }
extern "C" __global__ void lane_missing_fixed(float* out, const float* in) { incomplete_warp<true>(out, in); }

// Bugs of products by wgmma. Each of two warpgroups multiplies 64 lines by 8, both made of `in`, whose floats up to 256 are
// pairs of bfloat16, the first of them zero: line l holds in[0], .. in[31], turned by 4 l in the second operand.
enum class Wgmma
{
    Fine,
    NoProxyFence,     // the copies' threads do not hand them to the async proxy
    ProxyFenceLate,   // they do so after the barrier
    NoFence,          // accumulators are written to and not handed over
    NoCommit,         // so the wait is for nothing
    NoWait,           // accumulators are never waited for
    ReadEarly,        // accumulators are read before the wait
    WriteEarly,       // and written to
    Misaligned,       // the descriptor is of an address between the 16 bytes
    Pattern,          // the descriptor begins at the second of eight lines
    Lanes,            // not all of the warpgroup's lanes come
    Descriptors,      // lanes give different descriptors
    Refilled,         // an operand is copied anew before the wait
    Unwritten,        // an operand is larger than what was copied
};

// Bugs of the same product with the first operand in registers.
enum class OfRegisters
{
    Fine,
    NoFence,    // they are written to after the last fence
    ReadEarly,  // they are read before the wait
    WriteEarly, // and written to
    WrongGroup, // the same, after a wait for the group before theirs
};

template <Wgmma BUG> DEV void wgmma_product(float* out, const float* in)
{
    SHARED(unsigned char, space, [3 * 8192 + 1024]);
    unsigned char* const a = space + (1024 - shared_address(space) % 1024) % 1024;
    unsigned char* const b = a + 8192;
    const int t = threadIdx.x, lines = BUG == Wgmma::Unwritten ? 63 : 64;
    auto fill = [&](unsigned char* to, int turn, int count)
    {
        for (int chunk = t; chunk < count * 8; chunk += N)
            cp_async16(to + swizzled(chunk * 16), in + (chunk + turn * (chunk / 8)) % 8 * 4, true);
        cp_async_commit();
    };
    fill(a, 0, lines);
    fill(b, 1, 8);
    cp_async_wait<0>();
    if (BUG != Wgmma::NoProxyFence && BUG != Wgmma::ProxyFenceLate) fence_proxy_async();
    __syncthreads(); // every thread's copies are there
    if (BUG == Wgmma::ProxyFenceLate) fence_proxy_async();
    float sums[1][4] = {};
    if (BUG != Wgmma::NoFence) wgmma_fence(sums);
    const unsigned char* first = BUG == Wgmma::Misaligned ? a + 8 : BUG == Wgmma::Pattern ? a + 128 : a;
    if (BUG == Wgmma::Descriptors && t % 128 == 77) first = b;
    for (int k = 0; k < 4; k++)
        if (BUG != Wgmma::Lanes || t % 128 < 96) wgmma_bf16(sums, wgmma::further(k_major(first, 1024), 32 * k), wgmma::further(k_major(b, 1024), 32 * k));
    if (BUG != Wgmma::NoCommit) wgmma_commit();
    if (BUG == Wgmma::Refilled) fill(a, 2, 64);
    if (BUG == Wgmma::WriteEarly) sums[0][1] = 1.0f;
    if (BUG == Wgmma::ReadEarly) out[t] = sums[0][0];
    if (BUG != Wgmma::NoWait) wgmma_wait_all(sums);
    if (BUG == Wgmma::Refilled) cp_async_wait<0>();
    if (BUG != Wgmma::ReadEarly) out[t] = sums[0][0];
}
extern "C" __global__ void wgmma_no_proxy_fence(float* out, const float* in) { wgmma_product<Wgmma::NoProxyFence>(out, in); }
extern "C" __global__ void wgmma_proxy_fence_late(float* out, const float* in) { wgmma_product<Wgmma::ProxyFenceLate>(out, in); }
extern "C" __global__ void wgmma_no_fence(float* out, const float* in) { wgmma_product<Wgmma::NoFence>(out, in); }
extern "C" __global__ void wgmma_no_commit(float* out, const float* in) { wgmma_product<Wgmma::NoCommit>(out, in); }
extern "C" __global__ void wgmma_no_wait(float* out, const float* in) { wgmma_product<Wgmma::NoWait>(out, in); }
extern "C" __global__ void wgmma_read_early(float* out, const float* in) { wgmma_product<Wgmma::ReadEarly>(out, in); }
extern "C" __global__ void wgmma_write_early(float* out, const float* in) { wgmma_product<Wgmma::WriteEarly>(out, in); }
extern "C" __global__ void wgmma_misaligned(float* out, const float* in) { wgmma_product<Wgmma::Misaligned>(out, in); }
extern "C" __global__ void wgmma_pattern(float* out, const float* in) { wgmma_product<Wgmma::Pattern>(out, in); }
extern "C" __global__ void wgmma_lanes(float* out, const float* in) { wgmma_product<Wgmma::Lanes>(out, in); }
extern "C" __global__ void wgmma_descriptors(float* out, const float* in) { wgmma_product<Wgmma::Descriptors>(out, in); }
extern "C" __global__ void wgmma_refilled(float* out, const float* in) { wgmma_product<Wgmma::Refilled>(out, in); }
extern "C" __global__ void wgmma_unwritten(float* out, const float* in) { wgmma_product<Wgmma::Unwritten>(out, in); }
extern "C" __global__ void wgmma_fixed(float* out, const float* in) { wgmma_product<Wgmma::Fine>(out, in); }

template <OfRegisters BUG> DEV void wgmma_of_registers(float* out, const float* in)
{
    SHARED(unsigned char, space, [8192 + 1024]);
    unsigned char* const b = space + (1024 - shared_address(space) % 1024) % 1024;
    const int t = threadIdx.x;
    if (t < 64) cp_async16(b + swizzled(t * 16), in + (t + t / 8) % 8 * 4, true);
    uint32_t a[4][4]; // every line holds in[0], .. in[31]
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) a[k][i] = __float_as_uint(in[8 * k + i / 2 * 4 + t % 4]);
    cp_async_commit();
    cp_async_wait<0>();
    fence_proxy_async();
    __syncthreads(); // every thread's copies are there
    float sums[1][4] = {};
    wgmma_fence(sums);
    const uint32_t last = a[1][0];
    if (BUG == OfRegisters::NoFence) a[1][0] = 0;
    wgmma_fence(a);
    a[1][0] = last;
    for (int k = 0; k < 4; k++)
    {
        wgmma_bf16(sums, a[k], wgmma::further(k_major(b, 1024), 32 * k));
        if (k == 2) wgmma_commit();
    }
    wgmma_commit();
    if (BUG == OfRegisters::WrongGroup) wgmma_wait<1>();
    if (BUG == OfRegisters::WriteEarly || BUG == OfRegisters::WrongGroup) a[3][2] = 0;
    const uint32_t early = a[2][1];
    wgmma_wait_all(sums);
    out[t] = BUG == OfRegisters::ReadEarly ? __uint_as_float(early) - __uint_as_float(a[2][1]) + sums[0][0] : sums[0][0];
}
extern "C" __global__ void wgmma_registers_no_fence(float* out, const float* in) { wgmma_of_registers<OfRegisters::NoFence>(out, in); }
extern "C" __global__ void wgmma_registers_read_early(float* out, const float* in) { wgmma_of_registers<OfRegisters::ReadEarly>(out, in); }
extern "C" __global__ void wgmma_registers_write_early(float* out, const float* in) { wgmma_of_registers<OfRegisters::WriteEarly>(out, in); }
extern "C" __global__ void wgmma_registers_wrong_group(float* out, const float* in) { wgmma_of_registers<OfRegisters::WrongGroup>(out, in); }
extern "C" __global__ void wgmma_registers_fixed(float* out, const float* in) { wgmma_of_registers<OfRegisters::Fine>(out, in); }

// Bug: 80 KB in one thread's frame.
template <int Floats> DEV void large_frame(float* out, const float* in)
{
    volatile float frame[Floats];
    for (int i = 0; i < Floats; i++) frame[i] = in[threadIdx.x];
    out[threadIdx.x] = frame[threadIdx.x % Floats];
}
extern "C" __global__ void stack_overflow(float* out, const float* in) { large_frame<20000>(out, in); }
extern "C" __global__ void stack_overflow_fixed(float* out, const float* in) { large_frame<1000>(out, in); }

// Bug: waits for what never comes, in its own code, at a barrier and in a collective.
template <bool Fixed> DEV void endless(float* out, const float* in, int where)
{
    const int t = threadIdx.x;
    const volatile float* flag = in;
    while (!Fixed && flag[t] != -1.0f)
    {
        if (where == 1) __syncthreads(); // nothing to order
        if (where == 2) __syncwarp();
    }
    out[t] = in[t];
}
extern "C" __global__ void endless_loop(float* out, const float* in) { endless<false>(out, in, 0); }
extern "C" __global__ void endless_loop_fixed(float* out, const float* in) { endless<true>(out, in, 0); }
extern "C" __global__ void endless_barriers(float* out, const float* in) { endless<false>(out, in, 1); }
extern "C" __global__ void endless_barriers_fixed(float* out, const float* in) { endless<true>(out, in, 1); }
extern "C" __global__ void endless_collectives(float* out, const float* in) { endless<false>(out, in, 2); }
extern "C" __global__ void endless_collectives_fixed(float* out, const float* in) { endless<true>(out, in, 2); }

// Bug: more than 48 KiB of static shared memory.
template <int Floats> DEV void static_shared(float* out, const float* in)
{
    SHARED(float, s, [Floats]);
    s[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = s[threadIdx.x];
}
extern "C" __global__ void too_much_static_shared(float* out, const float* in) { static_shared<12289>(out, in); }
extern "C" __global__ void too_much_static_shared_fixed(float* out, const float* in) { static_shared<12288>(out, in); }

// ---- For the tests of launches and collectives ----

extern "C" __global__ void __launch_bounds__(64) bounded(float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x]; }

extern "C" __global__ void dynamic_shared(float* out, const float* in)
{
    DYN_SHARED(float, s);
    const int t = threadIdx.x;
    s[t] = in[t];
    __syncthreads(); // every element is there
    out[t] = s[N - 1 - t];
}

extern "C" __global__ void mixed_parameters(float* out, const float* in, int count, int64_t stride, float scale, double offset)
{
    const int t = threadIdx.x;
    if (t < count) out[t * stride] = in[t] * scale + static_cast<float>(offset);
}

extern "C" __global__ void collectives(float* out, const float* in)
{
    SHARED(double, scratch, [N / 32]);
    const int t = threadIdx.x;
    const float next = __shfl_sync(0xffffffffu, in[t], t + 1);
    const double total = block_sum(static_cast<double>(in[t]), scratch);
    out[t] = warp_sum<16>(in[t]) + 1000.0f * warp_max(in[t]) + next + static_cast<float>(total);
}

// Many blocks: which block and thread am I?
extern "C" __global__ void coordinates(float* out, const float*)
{
    const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] = static_cast<float>(block * 1000 + thread);
}
