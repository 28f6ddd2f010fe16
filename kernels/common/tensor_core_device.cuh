// Device side of tensor_core.cuh: inline PTX for sm_80 and later. What each function does is said there.
#pragma once

DEV bf16 to_bf16(float x)
{
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

DEV uint32_t pack_bf16(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

DEV uint32_t to_tf32(float x)
{
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

DEV void ldmatrix_x4(uint32_t (&r)[4], const void* row)
{
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

DEV void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row)
{
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

template <int COUNT, class T> DEV void ldmatrix_x4(uint32_t (&r)[COUNT][4], T* const (&rows)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) ldmatrix_x4(r[i], rows[i]);
}

template <int COUNT, class T> DEV void ldmatrix_x4_trans(uint32_t (&r)[COUNT][4], T* const (&rows)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) ldmatrix_x4_trans(r[i], rows[i]);
}

namespace tensor_core_detail
{
DEV void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEV void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
}

template <int M, int HALF_N> DEV void mma_bf16(float (&c)[M][2 * HALF_N][4], const uint32_t (&a)[M][4], const uint32_t (&b)[HALF_N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < 2 * HALF_N; n++)
            tensor_core_detail::mma_bf16(c[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
}

template <int M, int HALF_N> DEV void mma_tf32(float (&c)[M][2 * HALF_N][4], const uint32_t (&a)[M][4], const uint32_t (&b)[HALF_N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < 2 * HALF_N; n++)
            tensor_core_detail::mma_tf32(c[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
}
