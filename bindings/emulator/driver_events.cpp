// Driver API: pinned host memory and events. Copies run at once, but one from pinned memory counts as under way until a
// stream or event behind it is waited for: its source must stay as it is until then, and that is checked. Events take the
// host's time.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "driver.h"

using namespace kce;

namespace
{
struct Event
{
    bool timed = true;
    uint64_t last_copy = 0; // before it was recorded
    std::chrono::steady_clock::time_point at{}; // the clock's origin: never recorded
};

struct PinnedCopy
{
    const unsigned char* source;
    size_t bytes;
    uint64_t hash, number;
};

std::mutex guard;
std::map<const unsigned char*, size_t> pinned; // start and bytes
std::map<void*, Event> events;
std::vector<PinnedCopy> under_way;
uint64_t copies = 0;

// FNV-1a over 8 bytes at a time: quick, and a change is all that is asked for.
uint64_t hash_of(const unsigned char* data, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < bytes; i += 8)
    {
        uint64_t word = 0;
        std::memcpy(&word, data + i, bytes - i < 8 ? bytes - i : 8);
        hash = (hash ^ word) * 0x100000001b3ull;
    }
    return hash;
}

Result finish(uint64_t last)
{
    size_t kept = 0, changed = 0;
    for (const PinnedCopy& copy : under_way)
        if (copy.number > last) under_way[kept++] = copy;
        else if (hash_of(copy.source, copy.bytes) != copy.hash) changed = copy.bytes;
    under_way.resize(kept);
    return changed == 0 ? Success : error(IllegalAddress, "pinned memory was written to while a copy of " + std::to_string(changed)
        + " bytes from it was under way: wait for an event behind the copy first");
}
}

namespace kce
{
void copy_begins(const void* from, size_t bytes)
{
    std::lock_guard lock(guard);
    auto* source = static_cast<const unsigned char*>(from);
    auto next = pinned.upper_bound(source);
    if (next == pinned.begin()) return;
    --next;
    if (source + bytes > next->first + next->second) return; // not pinned: the driver stages it
    under_way.push_back({source, bytes, hash_of(source, bytes), ++copies});
}

Result finish_copies()
{
    std::lock_guard lock(guard);
    return finish(copies);
}
}

KCE_API cuMemHostAlloc(void** memory, size_t bytes, unsigned)
{
    if (Result r = ready()) return r;
    if (bytes == 0) return error(InvalidValue, "cuMemHostAlloc of zero bytes");
    *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*memory) return error(OutOfMemory, "cuMemHostAlloc of " + std::to_string(bytes) + " bytes");
    std::lock_guard lock(guard);
    pinned[static_cast<unsigned char*>(*memory)] = bytes;
    return Success;
}

KCE_API cuMemFreeHost(void* memory)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    Result result = finish(copies);
    if (pinned.erase(static_cast<unsigned char*>(memory)) == 0) return error(InvalidValue, "cuMemFreeHost of memory that is not pinned");
    std::free(memory);
    return result;
}

KCE_API cuEventCreate(void** event, unsigned flags)
{
    constexpr unsigned DisableTiming = 2;
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    *event = new char;
    events[*event] = {(flags & DisableTiming) == 0};
    return Success;
}

KCE_API cuEventDestroy_v2(void* event)
{
    std::lock_guard lock(guard);
    if (events.erase(event) == 0) return error(InvalidHandle, "cuEventDestroy of an unknown event");
    delete static_cast<char*>(event);
    return Success;
}

KCE_API cuEventRecord(void* event, void* stream)
{
    if (Result r = ready()) return r;
    if (!is_stream(stream)) return error(InvalidHandle, "cuEventRecord on an unknown stream");
    if (Result r = refuse_while_capturing(stream, "cuEventRecord")) return r;
    std::lock_guard lock(guard);
    auto found = events.find(event);
    if (found == events.end()) return error(InvalidHandle, "cuEventRecord of an unknown event");
    found->second = {found->second.timed, copies, std::chrono::steady_clock::now()};
    return Success;
}

KCE_API cuEventSynchronize(void* event)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    auto found = events.find(event);
    return found == events.end() ? error(InvalidHandle, "cuEventSynchronize of an unknown event") : finish(found->second.last_copy);
}

// Work runs where it is issued, so what is behind an event is done and what waits for it need not.
KCE_API cuEventQuery(void* event)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    return events.count(event) != 0 ? Success : error(InvalidHandle, "cuEventQuery of an unknown event");
}

KCE_API cuStreamWaitEvent(void* stream, void* event, unsigned flags)
{
    if (Result r = ready()) return r;
    if (flags != 0) return error(InvalidValue, "cuStreamWaitEvent takes no flags");
    if (!is_stream(stream)) return error(InvalidHandle, "cuStreamWaitEvent on an unknown stream");
    if (Result r = refuse_while_capturing(stream, "cuStreamWaitEvent")) return r;
    std::lock_guard lock(guard);
    return events.count(event) != 0 ? Success : error(InvalidHandle, "cuStreamWaitEvent of an unknown event");
}

KCE_API cuEventElapsedTime(float* milliseconds, void* from, void* to)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    auto start = events.find(from), end = events.find(to);
    const std::chrono::steady_clock::time_point never{};
    if (start == events.end() || end == events.end() || start->second.at == never || end->second.at == never)
        return error(InvalidHandle, "cuEventElapsedTime of an event that was not recorded");
    if (!start->second.timed || !end->second.timed) return error(InvalidHandle, "cuEventElapsedTime of an event that was created without timing");
    *milliseconds = std::chrono::duration<float, std::milli>(end->second.at - start->second.at).count();
    return Success;
}
