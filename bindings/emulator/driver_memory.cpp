// Driver API: memory. Every range is checked; copies run at once.
#include <cstring>

#include "device_memory.h"
#include "driver.h"

using namespace kce;

namespace
{
Result ready_on(void* stream)
{
    if (Result r = ready()) return r;
    return is_stream(stream) ? Success : error(InvalidHandle, "a copy or fill was given an unknown stream");
}

template <typename T> Result fill(uint64_t to, T value, size_t count, void* stream, const char* name)
{
    if (Result r = ready_on(stream)) return r;
    if (to % sizeof(T) != 0) return error(InvalidValue, std::string(name) + " of a misaligned address");
    if (Result r = check_range(to, count * sizeof(T), name)) return r;
    if (is_capturing(stream)) return capture([=] { return fill(to, value, count, nullptr, name); });
    auto* data = reinterpret_cast<T*>(to);
    for (size_t i = 0; i < count; i++) data[i] = value;
    mark_written(to, count * sizeof(T));
    return Success;
}
}

KCE_API cuMemAlloc_v2(uint64_t* address, size_t bytes)
{
    if (Result r = ready()) return r;
    if (bytes == 0) return error(InvalidValue, "cuMemAlloc of zero bytes");
    *address = allocate_device_memory(bytes);
    return *address ? Success : error(OutOfMemory, "cuMemAlloc of " + std::to_string(bytes) + " bytes");
}

KCE_API cuMemFree_v2(uint64_t address)
{
    if (Result r = ready()) return r;
    return free_device_memory(address);
}

KCE_API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream)
{
    if (Result r = ready_on(stream)) return r;
    if (Result r = check_range(to, bytes, "cuMemcpyHtoD")) return r;
    if (is_capturing(stream)) return capture([=] { return static_cast<Result>(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr)); });
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    copy_begins(from, bytes);
    mark_written(to, bytes);
    return Success;
}

KCE_API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream)
{
    if (Result r = ready_on(stream)) return r;
    if (Result r = check_range(from, bytes, "cuMemcpyDtoH")) return r;
    if (is_capturing(stream)) return capture([=] { return static_cast<Result>(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr)); });
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return Success;
}

KCE_API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream)
{
    if (Result r = ready_on(stream)) return r;
    if (Result r = check_range(to, bytes, "cuMemcpyDtoD to")) return r;
    if (Result r = check_range(from, bytes, "cuMemcpyDtoD from")) return r;
    if (is_capturing(stream)) return capture([=] { return static_cast<Result>(cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr)); });
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    mark_written(to, bytes);
    return Success;
}

KCE_API cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void* stream)
{
    return fill<unsigned char>(to, value, count, stream, "cuMemsetD8");
}

KCE_API cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void* stream)
{
    return fill<unsigned>(to, value, count, stream, "cuMemsetD32");
}
