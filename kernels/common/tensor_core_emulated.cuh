// Emulated side of tensor_core.cuh. What each function does is said there.
#pragma once

EMULATED_INTRINSIC bf16 to_bf16(float x)
{
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

EMULATED_INTRINSIC uint32_t pack_bf16(float low, float high)
{
    return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16;
}

EMULATED_INTRINSIC uint32_t to_tf32(float x)
{
    uint32_t bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}

namespace kce
{
struct MatrixLoad
{
    const void* const* rows;
    uint32_t* results; // [count][4]
    int count;
};

template <bool TRANSPOSED> __attribute__((no_sanitize("thread"))) void load_matrices(void** lanes, unsigned mask)
{
    if (mask != 0xffffffffu) kce_fail("ldmatrix needs all 32 lanes");
    const int count = static_cast<MatrixLoad*>(lanes[0])->count;
    for (int i = 0; i < count; i++)
        for (int m = 0; m < 4; m++)
        {
            uint16_t matrix[8][8];
            for (int r = 0; r < 8; r++) std::memcpy(matrix[r], static_cast<MatrixLoad*>(lanes[8 * m + r])->rows[i], 16);
            for (int lane = 0; lane < 32; lane++)
            {
                const int along = lane / 4, pair = lane % 4 * 2;
                const uint32_t low = TRANSPOSED ? matrix[pair][along] : matrix[along][pair];
                const uint32_t high = TRANSPOSED ? matrix[pair + 1][along] : matrix[along][pair + 1];
                static_cast<MatrixLoad*>(lanes[lane])->results[4 * i + m] = low | high << 16;
            }
        }
}

template <bool TRANSPOSED, int COUNT>
EMULATED_INTRINSIC void ldmatrix(uint32_t* results, const void* const (&rows)[COUNT], const char* where)
{
    for (const void* row : rows)
    {
        if (reinterpret_cast<uintptr_t>(row) % 16 != 0) kce_fail("%s: ldmatrix with an address that is not 16-byte aligned", where);
        kce_touch(row, 16, false, where);
    }
    MatrixLoad mine{rows, results, COUNT};
    kce_collective(0xffffffffu, TRANSPOSED ? "ldmatrix.trans" : "ldmatrix", &mine, load_matrices<TRANSPOSED>, where);
}

template <bool TRANSPOSED> EMULATED_INTRINSIC void ldmatrix_x4_of(uint32_t (&r)[4], const void* row, const char* where)
{
    const void* const rows[1] = {row};
    ldmatrix<TRANSPOSED>(r, rows, where);
}

template <bool TRANSPOSED, int COUNT, class T>
EMULATED_INTRINSIC void ldmatrix_x4_of(uint32_t (&r)[COUNT][4], T* const (&rows)[COUNT], const char* where)
{
    const void* untyped[COUNT];
    for (int i = 0; i < COUNT; i++) untyped[i] = rows[i];
    ldmatrix<TRANSPOSED>(&r[0][0], untyped, where);
}

struct Bf16Product
{
    static constexpr int Depth = 16, PerRegister = 2;
    static constexpr const char* Kind = "mma bf16";
    EMULATED_INTRINSIC float element(uint32_t bits, int i) { return i == 0 ? low_float(bits) : high_float(bits); }
};

struct Tf32Product
{
    static constexpr int Depth = 8, PerRegister = 1;
    static constexpr const char* Kind = "mma tf32";
    EMULATED_INTRINSIC float element(uint32_t bits, int) { return __uint_as_float(bits & 0xffffe000u); }
};

struct Mma
{
    float* c;          // [m][n][4]
    const uint32_t* a; // [m][4]
    const uint32_t* b; // [n][2]
    int m, n;
};

// Products are exact in float32 for bf16 and TF32 factors, but for their order their sums are those of a plain loop; the
// hardware's order and rounding of sums are not documented.
template <class P, int M, int N> __attribute__((no_sanitize("thread"))) void multiply_lanes(void** lanes, unsigned mask)
{
    if (mask != 0xffffffffu) kce_fail("mma needs all 32 lanes");
    float a[16 * M][P::Depth], b[P::Depth][8 * N], c[16 * M][8 * N];
    for (int lane = 0; lane < 32; lane++)
    {
        const auto* mine = static_cast<const Mma*>(lanes[lane]);
        if (mine->m != M || mine->n != N) kce_fail("lanes of one warp meet in mma of different sizes");
        const int group = lane / 4, place = lane % 4;
        for (int i = 0; i < P::PerRegister; i++)
        {
            const int k = place * P::PerRegister + i;
            for (int m = 0; m < M; m++)
                for (int r = 0; r < 4; r++)
                    a[16 * m + group + r % 2 * 8][k + r / 2 * P::Depth / 2] = P::element(mine->a[4 * m + r], i);
            for (int n = 0; n < N; n++)
                for (int r = 0; r < 2; r++) b[k + r * P::Depth / 2][8 * n + group] = P::element(mine->b[2 * n + r], i);
        }
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                for (int e = 0; e < 4; e++)
                    c[16 * m + group + e / 2 * 8][8 * n + place * 2 + e % 2] = mine->c[4 * (N * m + n) + e];
    }
    for (int row = 0; row < 16 * M; row++)
        for (int k = 0; k < P::Depth; k++)
            for (int column = 0; column < 8 * N; column++) c[row][column] += a[row][k] * b[k][column];
    for (int lane = 0; lane < 32; lane++)
    {
        float* mine = static_cast<const Mma*>(lanes[lane])->c;
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                for (int e = 0; e < 4; e++)
                    mine[4 * (N * m + n) + e] = c[16 * m + lane / 4 + e / 2 * 8][8 * n + lane % 4 * 2 + e % 2];
    }
}

template <class P, int M, int HALF_N>
EMULATED_INTRINSIC void mma(float (&c)[M][2 * HALF_N][4], const uint32_t (&a)[M][4], const uint32_t (&b)[HALF_N][4], const char* where)
{
    Mma mine{&c[0][0][0], &a[0][0], &b[0][0], M, 2 * HALF_N};
    kce_collective(0xffffffffu, P::Kind, &mine, multiply_lanes<P, M, 2 * HALF_N>, where);
}
}

#define ldmatrix_x4(r, rows) kce::ldmatrix_x4_of<false>(r, rows, KCE_HERE)
#define ldmatrix_x4_trans(r, rows) kce::ldmatrix_x4_of<true>(r, rows, KCE_HERE)
#define mma_bf16(c, a, b) kce::mma<kce::Bf16Product>(c, a, b, KCE_HERE)
#define mma_tf32(c, a, b) kce::mma<kce::Tf32Product>(c, a, b, KCE_HERE)
