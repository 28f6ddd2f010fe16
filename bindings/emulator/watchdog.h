// Ends kernels that do not end by themselves.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace kce
{
// The instructions of a kernel module.
struct CodeRange
{
    const char *begin = nullptr, *end = nullptr;
    bool holds(const void* address) const { return address >= begin && address < end; }
};

// What an OS thread that runs blocks shows to the watchdog.
struct Watched
{
    pthread_t thread;
    std::atomic<uint64_t> block{0};     // counts the blocks begun on this thread; odd while one runs
    std::atomic<int64_t> began{0};      // processor time of the thread when it began, in nanoseconds
    std::atomic<uint64_t> overdue{UINT64_MAX}; // the block that must end
    const void* interrupted = nullptr;  // the instruction of the kernel it was at, when it was at one
};

// Brackets the running of a block by the calling thread. The watchdog starts with the first one.
void watch(Watched& watched);
void unwatch(Watched& watched);

// Called by an overdue block, or on its fiber's stack in place of the instruction it was interrupted at. Never returns.
void kernel_is_overdue();
}
