// Device side of wgmma.cuh: inline PTX for sm_90a. What each function does is said there.
#pragma once

DEV uint32_t shared_address(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

DEV wgmma::KMajor k_major(const void* address, int stride) { return {wgmma::bits_of(shared_address(address), 16, stride)}; }

DEV wgmma::MnMajor mn_major(const void* address, int leading, int stride) { return {wgmma::bits_of(shared_address(address), leading, stride)}; }

DEV void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

DEV float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

namespace wgmma_detail
{
// The compiler may not move what is done with these registers to the other side.
template <int BLOCKS> DEV void hold(float (&c)[BLOCKS][4])
{
#pragma unroll
    for (int n = 0; n < BLOCKS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) asm volatile("" : "+f"(c[n][e])::"memory");
}

template <int COUNT> DEV void hold(uint32_t (&a)[COUNT][4])
{
#pragma unroll
    for (int n = 0; n < COUNT; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) asm volatile("" : "+r"(a[n][e])::"memory");
}

// The first operand is a descriptor, or four registers of this thread; what follows `adds` says which ways operands lie.
#define BEGIN(N, ADDS) "{\n.reg .pred adds;\nsetp.ne.b32 adds, " ADDS ", 0;\nwgmma.mma_async.sync.aligned.m64" N "k16.f32.bf16.bf16 {"
#define END(A, B, TRANSPOSED) "}, " A ", " B ", adds, 1, 1, " TRANSPOSED ";\n}"
#define SUMS(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define REGISTERS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])

template <bool TRANSPOSED_A, bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[1][4], uint64_t a, uint64_t b)
{
    asm volatile(BEGIN("n8", "%8")
            "%0, %1, %2, %3"
            END("%4", "%5", "%6, %7")
            : SUMS(0)
            : "l"(a), "l"(b), "n"(static_cast<int>(TRANSPOSED_A)), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

template <bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[1][4], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile(BEGIN("n8", "%10")
            "%0, %1, %2, %3"
            END("{%4, %5, %6, %7}", "%8", "%9")
            : SUMS(0)
            : REGISTERS, "l"(b), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

template <bool TRANSPOSED_A, bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[8][4], uint64_t a, uint64_t b)
{
    asm volatile(BEGIN("n64", "%36")
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
            END("%32", "%33", "%34, %35")
            : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7)
            : "l"(a), "l"(b), "n"(static_cast<int>(TRANSPOSED_A)), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

template <bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile(BEGIN("n64", "%38")
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
            END("{%32, %33, %34, %35}", "%36", "%37")
            : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7)
            : REGISTERS, "l"(b), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

template <bool TRANSPOSED_A, bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[16][4], uint64_t a, uint64_t b)
{
    asm volatile(BEGIN("n128", "%68")
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
            "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
            END("%64", "%65", "%66, %67")
            : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7),
              SUMS(8), SUMS(9), SUMS(10), SUMS(11), SUMS(12), SUMS(13), SUMS(14), SUMS(15)
            : "l"(a), "l"(b), "n"(static_cast<int>(TRANSPOSED_A)), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

template <bool TRANSPOSED_B, bool ADDS> DEV void multiply(float (&c)[16][4], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile(BEGIN("n128", "%70")
            "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
            "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
            END("{%64, %65, %66, %67}", "%68", "%69")
            : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7),
              SUMS(8), SUMS(9), SUMS(10), SUMS(11), SUMS(12), SUMS(13), SUMS(14), SUMS(15)
            : REGISTERS, "l"(b), "n"(static_cast<int>(TRANSPOSED_B)), "n"(static_cast<int>(ADDS))
            : "memory");
}

#undef BEGIN
#undef END
#undef SUMS
#undef REGISTERS

template <bool ADDS, int BLOCKS, class A, class B> DEV void begin(float (&c)[BLOCKS][4], const A& a, B b)
{
    multiply<A::Transposed, B::Transposed, ADDS>(c, a.bits, b.bits);
}

template <bool ADDS, int BLOCKS, class B> DEV void begin(float (&c)[BLOCKS][4], const uint32_t (&a)[4], B b)
{
    multiply<B::Transposed, ADDS>(c, a, b.bits);
}
}

template <class T, int COUNT> DEV void wgmma_fence(T (&registers)[COUNT][4])
{
    wgmma_detail::hold(registers);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

template <int BLOCKS, class A, class B> DEV void wgmma_bf16(float (&c)[BLOCKS][4], const A& a, B b) { wgmma_detail::begin<true>(c, a, b); }

template <int BLOCKS, class A, class B> DEV void wgmma_bf16_set(float (&c)[BLOCKS][4], const A& a, B b) { wgmma_detail::begin<false>(c, a, b); }

DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int LEFT> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }

template <int LEFT, int BLOCKS> DEV void wgmma_wait(float (&c)[BLOCKS][4])
{
    wgmma_wait<LEFT>();
    wgmma_detail::hold(c);
}

template <int BLOCKS> DEV void wgmma_wait_all(float (&c)[BLOCKS][4]) { wgmma_wait<0>(c); }
