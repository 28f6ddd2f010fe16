// cp.async: copies land as early as they may (at issue) or as late (when waited for).
#include <cstring>

#include "block.h"

using namespace kce;

namespace
{
constexpr int CopyBytes = 16;

void land(const AsyncCopy& copy)
{
    std::memcpy(copy.shared, copy.global, copy.source_bytes);
    std::memset(static_cast<char*>(copy.shared) + copy.source_bytes, 0, CopyBytes - copy.source_bytes);
}
}

extern "C" void kce_cp_async(void* shared, const void* global, int source_bytes, const char* where)
{
    BlockRunner* runner = BlockRunner::current();
    auto misaligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % CopyBytes != 0; };
    if (misaligned(shared) || misaligned(global)) kce_fail("%s: cp.async with an address that is not 16-byte aligned", where);
    if (!runner->shared().contains(shared) || !runner->shared().in_one_array(shared, CopyBytes))
        kce_fail("%s: cp.async into memory that is no shared array", where);
    kce_touch(global, source_bytes, false, where);
    kce_touch(shared, CopyBytes, true, where);
    Fiber* me = BlockRunner::running();
    AsyncCopy copy{shared, global, source_bytes, where, runner->async_writes().begun(runner->shared().offset(shared), me->linear)};
    me->copies.push_back(copy);
    me->open_copies++;
    if (settings().copies == CopyTiming::Early) land(copy);
}

extern "C" void kce_cp_async_commit()
{
    Fiber* me = BlockRunner::running();
    me->copy_groups.push_back(me->open_copies);
    me->open_copies = 0;
}

extern "C" void kce_cp_async_wait(int groups_left)
{
    Fiber* me = BlockRunner::running();
    size_t groups = me->copy_groups.size() > static_cast<size_t>(groups_left) ? me->copy_groups.size() - groups_left : 0;
    BlockRunner* runner = BlockRunner::current();
    size_t landed = 0;
    for (size_t g = 0; g < groups; g++) landed += me->copy_groups[g];
    for (size_t i = 0; i < landed; i++)
    {
        const AsyncCopy& copy = me->copies[i];
        kce_touch(copy.shared, CopyBytes, true, copy.where);
        if (settings().copies == CopyTiming::Late) land(copy);
        runner->async_writes().landed(runner->shared().offset(copy.shared), copy.number, me->warpgroup.fences());
    }
    me->copies.erase(me->copies.begin(), me->copies.begin() + static_cast<long>(landed));
    me->copy_groups.erase(me->copy_groups.begin(), me->copy_groups.begin() + static_cast<long>(groups));
}
