#include "shared_memory.h"

#include <cstdlib>
#include <cstring>

#include "abi.h"

namespace kce
{
namespace
{
constexpr unsigned char Poison = 0xff; // read as float: NaN
constexpr unsigned char Guard = 0xc7;
}

SharedMemory::SharedMemory() : base_(static_cast<char*>(std::aligned_alloc(4096, RegionBytes))) {}

SharedMemory::~SharedMemory() { std::free(base_); }

void SharedMemory::begin(size_t dynamic_bytes)
{
    arrays_.clear();
    static_bytes_ = 0;
    used_ = RedZone;
    std::memset(base_, Guard, RedZone);
    add(nullptr, dynamic_bytes, "the dynamic shared array");
}

void SharedMemory::add(const void* declaration, size_t bytes, const char* name)
{
    arrays_.push_back({declaration, name, used_, bytes});
    size_t end = used_ + bytes;
    size_t next = (end + RedZone + 15) & ~size_t{15};
    std::memset(base_ + used_, Poison, bytes);
    std::memset(base_ + end, Guard, next - end);
    used_ = next;
}

void* SharedMemory::declare(const void* declaration, size_t bytes, const char* name, const char* where)
{
    for (const Array& array : arrays_)
        if (array.declaration == declaration) return base_ + array.offset;
    static_bytes_ += bytes;
    if (static_bytes_ > StaticLimit)
        kce_fail("%s: shared array '%s' brings static shared memory to %zu bytes, more than %zu", where, name,
                 static_bytes_, StaticLimit);
    if (static_bytes_ + arrays_[0].bytes > DynamicLimit)
        kce_fail("%s: static and dynamic shared memory take %zu bytes, more than %zu", where,
                 static_bytes_ + arrays_[0].bytes, DynamicLimit);
    add(declaration, bytes, name);
    return base_ + arrays_.back().offset;
}

const char* SharedMemory::overrun() const
{
    for (const Array& array : arrays_)
    {
        const char* end = base_ + array.offset + array.bytes;
        for (size_t i = 0; i < RedZone; i++)
            if (static_cast<unsigned char>(end[i]) != Guard) return array.name;
    }
    for (size_t i = 0; i < RedZone; i++)
        if (static_cast<unsigned char>(base_[i]) != Guard) return "the first shared array (before its start)";
    return nullptr;
}

bool SharedMemory::in_one_array(const void* address, size_t bytes) const
{
    size_t from = offset(address);
    for (const Array& array : arrays_)
        if (from >= array.offset && from + bytes <= array.offset + array.bytes) return true;
    return false;
}
}
