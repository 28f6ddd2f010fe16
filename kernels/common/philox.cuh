// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): the numbers of the CPU device's Philox and PhiloxStream.
#pragma once

struct PhiloxBlock
{
    uint32_t x, y, z, w;
};

// Numbers 4 block .. 4 block + 3 of a stream: counter = (block, stream), key = seed.
DEV PhiloxBlock philox_block(uint64_t block, uint64_t stream, uint64_t seed)
{
    uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32);
    uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++)
    {
        const uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(p1);
        c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {c0, c1, c2, c3};
}

// 32 random bits as a float in [0, 1), on a grid of 2^-24.
DEV float philox_unit(uint32_t bits) { return (bits >> 8) * (1.0f / 16777216.0f); }
