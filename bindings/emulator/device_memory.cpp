#include "device_memory.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <vector>

namespace kce
{
namespace
{
constexpr size_t Alignment = 256;
constexpr size_t GuardBytes = 256;
constexpr unsigned char Guard = 0xc7;
constexpr unsigned char Poison = 0xff; // read as float: NaN

struct Allocation
{
    size_t bytes;
    std::vector<uint8_t> written; // one per 4 bytes
};

std::shared_mutex guard;
std::map<uint64_t, Allocation> allocations;

// The allocation this OS thread used last; `generation` ends it when anything is freed.
std::atomic<uint64_t> generation{1};
struct Hot
{
    uint64_t from = 0, to = 0, generation = 0;
    Allocation* allocation = nullptr;
};
thread_local Hot hot;

size_t padded(size_t bytes) { return (bytes + Alignment - 1) / Alignment * Alignment; }

// The last allocation that starts at or below the address.
std::map<uint64_t, Allocation>::iterator at_or_below(uint64_t address)
{
    auto next = allocations.upper_bound(address);
    return next == allocations.begin() ? allocations.end() : std::prev(next);
}

// Bytes of a guard that changed: before the allocation or after it.
bool guard_broken(uint64_t address, const Allocation& allocation)
{
    auto* data = reinterpret_cast<const unsigned char*>(address);
    for (size_t i = 1; i <= GuardBytes; i++)
        if (data[-static_cast<long>(i)] != Guard) return true;
    for (size_t i = allocation.bytes; i < padded(allocation.bytes) + GuardBytes; i++)
        if (data[i] != Guard) return true;
    return false;
}

void release(uint64_t address) { std::free(reinterpret_cast<char*>(address) - GuardBytes); }
}

uint64_t allocate_device_memory(size_t bytes)
{
    size_t total = padded(bytes) + 2 * GuardBytes;
    auto* block = static_cast<char*>(std::aligned_alloc(Alignment, total));
    if (!block) return 0;
    std::memset(block, Guard, total);
    std::memset(block + GuardBytes, Poison, bytes);
    auto address = reinterpret_cast<uint64_t>(block + GuardBytes);
    std::unique_lock lock(guard);
    allocations[address] = {bytes, std::vector<uint8_t>(bytes / 4 + 1)};
    return address;
}

Result free_device_memory(uint64_t address)
{
    std::unique_lock lock(guard);
    auto found = allocations.find(address);
    if (found == allocations.end()) return error(InvalidValue, "cuMemFree of an address that cuMemAlloc did not give");
    generation++;
    allocations.erase(found);
    release(address);
    return Success;
}

void free_all_device_memory()
{
    std::unique_lock lock(guard);
    generation++;
    for (auto& [address, allocation] : allocations) release(address);
    allocations.clear();
}

Result check_range(uint64_t address, size_t bytes, const char* operation)
{
    std::shared_lock lock(guard);
    auto found = at_or_below(address);
    if (found != allocations.end() && address + bytes <= found->first + found->second.bytes) return Success;
    std::string detail = std::string(operation) + " of " + std::to_string(bytes) + " bytes is outside of every allocation";
    if (found != allocations.end() && address < found->first + found->second.bytes)
        detail = std::string(operation) + " of " + std::to_string(bytes) + " bytes at offset " +
                 std::to_string(address - found->first) + " leaves an allocation of " +
                 std::to_string(found->second.bytes) + " bytes";
    return error(InvalidValue, detail);
}

void mark_written(uint64_t address, size_t bytes)
{
    std::shared_lock lock(guard);
    auto found = at_or_below(address);
    if (found == allocations.end() || bytes == 0) return;
    size_t offset = address - found->first;
    std::memset(found->second.written.data() + offset / 4, 1, (offset + bytes + 3) / 4 - offset / 4);
}

void check_guards(const char* kernel)
{
    std::shared_lock lock(guard);
    for (auto& [address, allocation] : allocations)
        if (guard_broken(address, allocation))
            record_fault(IllegalAddress, std::string(kernel) + ": wrote outside of an allocation of " +
                                             std::to_string(allocation.bytes) + " bytes");
}

Access access_device_memory(const void* pointer, size_t bytes, bool write, std::string& description)
{
    auto address = reinterpret_cast<uint64_t>(pointer);
    auto look = [&](uint64_t offset, Allocation& allocation) {
        uint8_t* written = allocation.written.data();
        size_t first = offset / 4, last = (offset + bytes + 3) / 4;
        if (write) std::memset(written + first, 1, last - first);
        else
            for (size_t i = first; i < last; i++)
                if (!written[i]) return Access::Uninitialised;
        return Access::Fine;
    };
    if (hot.generation == generation && address >= hot.from && address + bytes <= hot.to)
        return look(address - hot.from, *hot.allocation);

    std::shared_lock lock(guard);
    auto found = at_or_below(address);
    if (found != allocations.end())
    {
        uint64_t offset = address - found->first;
        Allocation& allocation = found->second;
        if (offset + bytes <= allocation.bytes)
        {
            hot = {found->first, found->first + allocation.bytes, generation, &allocation};
            return look(offset, allocation);
        }
        if (offset < allocation.bytes + 65536)
        {
            description = std::to_string(offset + bytes - allocation.bytes) + " bytes past the end of an allocation of " +
                          std::to_string(allocation.bytes) + " bytes";
            return Access::OutOfBounds;
        }
    }
    description = "outside of every allocation";
    return Access::OutOfBounds;
}
}
