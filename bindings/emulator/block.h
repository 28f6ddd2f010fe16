// Runs one block at a time on the calling OS thread. Each CUDA thread is a fiber; one that never waits never switches.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "abi.h"
#include "settings.h"
#include "shared_memory.h"
#include "warpgroup.h"
#include "watchdog.h"

namespace kce
{
struct AsyncCopy
{
    void* shared;
    const void* global;
    int source_bytes;
    const char* where;
    uint32_t number; // of the block's copies, from 1
};

struct Fiber : Thread
{
    enum class State { Fresh, Ready, Running, AtBarrier, InCollective, Finished };

    State state = State::Fresh;
    void* stack_pointer = nullptr;
    int stack = -1;
    const char* waits_at = "";
    const char* waits_for = "";
    std::vector<AsyncCopy> copies;  // issued and not landed
    std::vector<int> copy_groups;   // sizes of the committed groups, oldest first
    int open_copies = 0;            // issued since the last commit
    WarpgroupLane warpgroup;        // what it has to do with products of its warpgroup
};

// Lanes of a warp that wait for each other.
struct Meeting
{
    unsigned mask = 0, arrived = 0;
    const char* kind = nullptr;
    void* operands[32];
};

struct Warp
{
    Meeting meetings[8]; // several when the warp has diverged
    unsigned epoch = 0;  // counts __syncwarp, for the race checks
};

struct Launch
{
    const Kernel* kernel;
    void** parameters;
    Index grid, block;
    size_t dynamic_shared_bytes;
    CodeRange code; // of the kernel's module
};

class Shadow;

class BlockRunner
{
public:
    static constexpr unsigned MaxThreads = 1024;

    BlockRunner();
    ~BlockRunner();
    BlockRunner(const BlockRunner&) = delete;
    BlockRunner& operator=(const BlockRunner&) = delete;

    // Runs a block to its end, or until it fails.
    void run(const Launch& launch, Index block);

    // What a running fiber calls.
    void wait_at_barrier(const char* where);
    void meet(unsigned mask, const char* kind, void* operands, LaneFunction function, const char* where);
    // Parks the running fiber; the one that makes it whole lets the 128 of the warpgroup go on.
    void wait_for_warpgroup(const char* where);
    void release_warpgroup(unsigned warpgroup);
    [[noreturn]] void abandon();
    [[noreturn]] void run_fibers();

    static BlockRunner* current();
    static Fiber* running() { return static_cast<Fiber*>(kce_thread); }

    SharedMemory& shared() { return shared_; }
    const SharedMemory& shared() const { return shared_; }
    Shadow& shadow() { return *shadow_; }
    Warpgroups& warpgroups() { return warpgroups_; }
    AsyncWrites& async_writes() { return async_writes_; }
    Fiber& fiber(unsigned linear) { return fibers_[linear]; }
    unsigned thread_count() const { return static_cast<unsigned>(fibers_.size()); }
    const Kernel& kernel() const { return *launch_->kernel; }
    const CodeRange& code() const { return launch_->code; }
    Watched& watched() { return watched_; }
    bool is_overdue() const { return watched_.overdue == watched_.block; }
    unsigned barrier_epoch() const { return barrier_epoch_; }
    unsigned warp_epoch(unsigned warp) const { return warps_[warp].epoch; }
    bool on_fiber_stack(const void* address) const
    {
        return address >= arena_ && static_cast<const char*>(address) < arena_ + arena_bytes_;
    }
    bool is_bookkeeping(const void* address) const
    {
        return address >= fibers_.data() && address < fibers_.data() + fibers_.size();
    }

private:
    void prepare(const Launch& launch, Index block);
    void leave(void** save);
    void start_stack(void** save);
    void release_barrier();
    void check_finished(const Fiber& fiber);
    [[noreturn]] void report_deadlock();
    void* stack_top(int stack) const;
    bool canary_intact(int stack) const;
    void set_canary(int stack);

    unsigned in_order(unsigned i) const
    {
        return settings().order == Order::Reverse ? static_cast<unsigned>(fibers_.size()) - 1 - i : i;
    }

    // Fibers that may go on, first in first out.
    void push_back(unsigned fiber) { ready_[(head_ + ready_count_++) % MaxThreads] = static_cast<uint16_t>(fiber); }
    void push_front(unsigned fiber)
    {
        head_ = (head_ + MaxThreads - 1) % MaxThreads;
        ready_[head_] = static_cast<uint16_t>(fiber);
        ready_count_++;
    }
    unsigned pop_front()
    {
        unsigned fiber = ready_[head_];
        head_ = (head_ + 1) % MaxThreads;
        ready_count_--;
        return fiber;
    }

    const Launch* launch_ = nullptr;
    Watched watched_;
    std::vector<Fiber> fibers_;
    std::vector<Warp> warps_;
    uint16_t ready_[MaxThreads];
    unsigned head_ = 0, ready_count_ = 0;
    unsigned next_fresh_ = 0;      // in order: threads not started yet
    unsigned alive_ = 0;
    unsigned at_barrier_ = 0;
    unsigned barrier_epoch_ = 1;
    void* main_stack_pointer_ = nullptr;

    char* arena_;
    size_t arena_bytes_, stack_pitch_;
    std::vector<int> free_stacks_;
    int stacks_used_ = 0;
    int starting_stack_ = -1;

    SharedMemory shared_;
    Warpgroups warpgroups_;
    AsyncWrites async_writes_;
    std::unique_ptr<Shadow> shadow_;
};
}
