#include "shadow.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "block.h"
#include "device_memory.h"
#include "errors.h"

namespace kce
{
namespace
{
uint32_t warp_of(uint32_t thread) { return (thread - 1) / 32; }

[[noreturn]] void fail_at(const char* problem, const char* where, const void* pc)
{
    BlockRunner* runner = BlockRunner::current();
    std::string text = std::string(runner->kernel().name) + ": thread " +
                       std::to_string(BlockRunner::running()->linear) + " " + problem;
    if (where) text += std::string(" at ") + where;
    record_fault(LaunchFailed, text, where ? nullptr : pc);
    runner->abandon();
}
}

void Shadow::begin_block()
{
    std::fill_n(cells_.begin(), used_, Cell());
    used_ = 0;
}

void Shadow::access(BlockRunner& runner, const void* address, size_t bytes, bool write, const char* where, const void* pc)
{
    if (!runner.shared().in_one_array(address, bytes))
        fail_at(write ? "writes shared memory outside of every array" : "reads shared memory outside of every array", where, pc);
    if (cells_.empty()) cells_.resize(SharedMemory::RegionBytes / 4); // 9 MB, in checked mode only

    const uint32_t me = BlockRunner::running()->linear + 1, my_warp = warp_of(me);
    const uint32_t barrier = runner.barrier_epoch(), warp_epoch = runner.warp_epoch(my_warp);
    const size_t offset = runner.shared().offset(address);
    used_ = std::max(used_, (offset + bytes + 3) / 4);
    for (size_t i = offset / 4; i < (offset + bytes + 3) / 4; i++)
    {
        Cell& cell = cells_[i];
        // Ordered before this access: by a __syncthreads, or by a __syncwarp within the warp.
        bool write_ordered = cell.writer == 0 || cell.writer == me || cell.write_barrier != barrier ||
                             (warp_of(cell.writer) == my_warp && cell.write_warp_epoch != warp_epoch);
        bool reads_ordered = cell.reader == 0 || cell.read_barrier != barrier ||
                             (cell.reader == me && !cell.several_readers) ||
                             (!cell.several_warps && warp_of(cell.reader) == my_warp && cell.read_warp_epoch != warp_epoch);
        if (!write_ordered)
            fail_at(write ? "overwrites shared memory that another thread wrote, with no barrier between"
                          : "reads shared memory that another thread wrote, with no barrier between", where, pc);
        if (write)
        {
            if (!reads_ordered) fail_at("overwrites shared memory that another thread read, with no barrier between", where, pc);
            cell = {me, barrier, warp_epoch, BlockRunner::running()->warpgroup.fences(), 0, 0, 0, true, false, false};
            continue;
        }
        if (!cell.initialised) fail_at("reads shared memory that nobody wrote yet", where, pc);
        bool same_phase = cell.reader != 0 && cell.read_barrier == barrier;
        cell.several_warps = same_phase && (cell.several_warps || warp_of(cell.reader) != my_warp);
        cell.several_readers = same_phase && (cell.several_readers || cell.reader != me);
        cell.reader = me;
        cell.read_barrier = barrier;
        cell.read_warp_epoch = warp_epoch;
    }
}

Shadow::Writer Shadow::writer_of(const BlockRunner& runner, const void* address) const
{
    const size_t i = runner.shared().offset(address) / 4;
    if (i >= used_) return {0, 0};
    return {cells_[i].writer, cells_[i].writer_fences};
}
}

using namespace kce;

namespace
{
void check(const void* address, size_t bytes, bool write, const char* where, const void* pc)
{
    BlockRunner* runner = BlockRunner::current();
    if (!runner || !kce_thread || bytes == 0) return;
    if (runner->on_fiber_stack(address)) return; // a thread's own variables, or a lane's operands
    if (runner->shared().contains(address))
    {
        runner->shadow().access(*runner, address, bytes, write, where, pc);
        return;
    }
    if (runner->is_bookkeeping(address) || address == &kce_thread) return; // threadIdx and the like
    std::string description;
    switch (access_device_memory(address, bytes, write, description))
    {
        case Access::Fine: return;
        case Access::Uninitialised: fail_at("reads device memory that nobody wrote", where, pc);
        case Access::OutOfBounds: break;
    }
    Dl_info image;
    if (dladdr(address, &image) && image.dli_fname) return; // constants of the module, kernel parameters
    fail_at((std::string(write ? "writes " : "reads ") + std::to_string(bytes) + " bytes " + description).c_str(), where, pc);
}
}

extern "C" void kce_touch(const void* address, size_t bytes, bool write, const char* where)
{
    // A fast module's accesses are not all noted, so what it reads would look unwritten.
    BlockRunner* runner = BlockRunner::current();
    if (runner && runner->kernel().checked) check(address, bytes, write, where, nullptr);
}

// A checked module is compiled with -fsanitize=thread and linked without its runtime: these are the hooks it calls
// before every access to memory.
extern "C"
{
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define KCE_HOOKS(SIZE)                                                                                          \
    void __tsan_read##SIZE(void* p) { check(p, SIZE, false, nullptr, __builtin_return_address(0)); }             \
    void __tsan_write##SIZE(void* p) { check(p, SIZE, true, nullptr, __builtin_return_address(0)); }             \
    void __tsan_unaligned_read##SIZE(void* p) { check(p, SIZE, false, nullptr, __builtin_return_address(0)); }   \
    void __tsan_unaligned_write##SIZE(void* p) { check(p, SIZE, true, nullptr, __builtin_return_address(0)); }
KCE_HOOKS(1)
KCE_HOOKS(2)
KCE_HOOKS(4)
KCE_HOOKS(8)
KCE_HOOKS(16)
#undef KCE_HOOKS

void __tsan_read_range(void* p, size_t bytes) { check(p, bytes, false, nullptr, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t bytes) { check(p, bytes, true, nullptr, __builtin_return_address(0)); }

void* __tsan_memcpy(void* to, const void* from, size_t bytes)
{
    check(from, bytes, false, nullptr, __builtin_return_address(0));
    check(to, bytes, true, nullptr, __builtin_return_address(0));
    return std::memcpy(to, from, bytes);
}

void* __tsan_memset(void* to, int value, size_t bytes)
{
    check(to, bytes, true, nullptr, __builtin_return_address(0));
    return std::memset(to, value, bytes);
}
}
