// The shared memory of one block: arrays handed out by declaration, with a red zone after each.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kce
{
class SharedMemory
{
public:
    static constexpr size_t Capacity = 227 << 10; // the most a block of any present GPU may have
    static constexpr size_t StaticLimit = 48 << 10;
    static constexpr size_t DynamicDefault = 48 << 10;
    static constexpr size_t DynamicLimit = 99 << 10; // the least of any GPU from 8.0 on: 8.6 and 8.9; 8.0 has 163 KiB

    SharedMemory();
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    // Forgets the last block's arrays and makes room for this one's dynamic array.
    void begin(size_t dynamic_bytes);

    // Names the array whose red zone was written to, or null.
    const char* overrun() const;

    void* declare(const void* declaration, size_t bytes, const char* name, const char* where);
    void* dynamic() const { return base_ + RedZone; }

    bool contains(const void* address) const
    {
        return address >= base_ && static_cast<const char*>(address) < base_ + RegionBytes;
    }
    // Whether [address, address + bytes) lies within one array.
    bool in_one_array(const void* address, size_t bytes) const;
    size_t offset(const void* address) const { return static_cast<const char*>(address) - base_; }

    static constexpr size_t RedZone = 64;
    static constexpr size_t RegionBytes = 256 << 10;

private:
    struct Array
    {
        const void* declaration;
        const char* name;
        size_t offset, bytes;
    };

    void add(const void* declaration, size_t bytes, const char* name);

    char* base_;
    size_t used_ = 0;
    size_t static_bytes_ = 0;
    std::vector<Array> arrays_;
};
}
