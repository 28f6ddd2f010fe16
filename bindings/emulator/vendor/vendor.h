// What the libraries for tests that stand in for NVIDIA's share: they work on the emulated driver's memory, and are
// strict. Each keeps to the entry points, numbers and sizes of NVIDIA's headers.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "device_memory.h"
#include "driver.h"
#include "errors.h"

namespace vendor
{
// cudaDataType_t
enum Type
{
    Real32 = 0,
    RealBf16 = 14,
};

inline size_t size_of(int type) { return type == Real32 ? 4 : 2; }

inline float load(const void* data, int64_t i, int type)
{
    if (type == Real32) return static_cast<const float*>(data)[i];
    uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(data)[i]) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline void store(void* data, int64_t i, int type, float x)
{
    if (type == Real32)
    {
        static_cast<float*>(data)[i] = x;
        return;
    }
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    static_cast<uint16_t*>(data)[i] = std::isnan(x) ? 0x7fff : static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// To TF32, ties away from zero, as the tensor cores take it.
inline float to_tf32(float x)
{
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000) != 0x7f800000) bits = (bits + 0x1000) & 0xffffe000;
    std::memcpy(&x, &bits, 4);
    return x;
}

// Keeps the text, which messages show after the status.
inline int refuse(int status, const std::string& detail)
{
    kce::error(kce::InvalidValue, detail);
    return status;
}

// Address, size and alignment of an array; empty when all is well.
inline std::string problem_of(const char* name, uint64_t address, size_t bytes, size_t alignment)
{
    if (address % alignment != 0) return std::string(name) + " is not aligned to the " + std::to_string(alignment) + " bytes that were promised or its type needs";
    if (kce::check_range(address, bytes, name) != kce::Success) return kce::error_detail();
    return "";
}

inline bool overlap(uint64_t a, size_t a_bytes, uint64_t b, size_t b_bytes) { return a < b + b_bytes && b < a + a_bytes; }
}
