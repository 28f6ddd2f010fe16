#include "block.h"

#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "errors.h"
#include "fiber.h"
#include "shadow.h"

__thread kce::Thread* kce_thread = nullptr;

namespace kce
{
namespace
{
__thread BlockRunner* current_runner __attribute__((tls_model("initial-exec"))) = nullptr;

constexpr uint64_t Canary = 0x5afe5afe5afe5afe;
constexpr int CanaryWords = 8;
constexpr size_t Slack = 256 << 10; // below the first stack, for one that overflows
}

BlockRunner* BlockRunner::current() { return current_runner; }

BlockRunner::BlockRunner() : shadow_(new Shadow)
{
    // Stacks are staggered by five cache lines, so that the hot frames of neighbours do not share cache sets, and lie
    // on huge pages: 256 of them would otherwise use up the TLB.
    stack_pitch_ = settings().stack_bytes + 320;
    arena_bytes_ = (Slack + stack_pitch_ * MaxThreads + (2 << 20) - 1) & ~((size_t{2} << 20) - 1);
    void* memory = mmap(nullptr, arena_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    madvise(memory, arena_bytes_, MADV_HUGEPAGE);
    arena_ = static_cast<char*>(memory);
}

BlockRunner::~BlockRunner() { munmap(arena_, arena_bytes_); }

void* BlockRunner::stack_top(int stack) const
{
    uintptr_t top = reinterpret_cast<uintptr_t>(arena_ + Slack + stack_pitch_ * (stack + 1)) - 64;
    return reinterpret_cast<void*>(top & ~uintptr_t{15});
}

void BlockRunner::set_canary(int stack)
{
    auto* words = reinterpret_cast<uint64_t*>(arena_ + Slack + stack_pitch_ * stack);
    for (int i = 0; i < CanaryWords; i++) words[i] = Canary;
}

bool BlockRunner::canary_intact(int stack) const
{
    auto* words = reinterpret_cast<const uint64_t*>(arena_ + Slack + stack_pitch_ * stack);
    for (int i = 0; i < CanaryWords; i++)
        if (words[i] != Canary) return false;
    return true;
}

void BlockRunner::prepare(const Launch& launch, Index block)
{
    launch_ = &launch;
    unsigned count = launch.block.x * launch.block.y * launch.block.z;
    fibers_.resize(count);
    warps_.assign((count + 31) / 32, Warp());
    for (unsigned i = 0; i < count; i++)
    {
        Fiber& fiber = fibers_[i];
        fiber.linear = i;
        fiber.thread = {i % launch.block.x, i / launch.block.x % launch.block.y, i / (launch.block.x * launch.block.y)};
        fiber.block = block;
        fiber.block_size = launch.block;
        fiber.grid_size = launch.grid;
        fiber.state = Fiber::State::Fresh;
        fiber.copies.clear();
        fiber.copy_groups.clear();
        fiber.open_copies = 0;
        fiber.warpgroup.begin_block();
    }
    warpgroups_.begin_block(count);
    async_writes_.begin_block();
    next_fresh_ = at_barrier_ = head_ = ready_count_ = 0;
    alive_ = count;
    barrier_epoch_++;
    free_stacks_.clear();
    stacks_used_ = 0;
    shared_.begin(launch.dynamic_shared_bytes);
    shadow_->begin_block();
}

void BlockRunner::run(const Launch& launch, Index block)
{
    current_runner = this;
    prepare(launch, block);
    watch(watched_);
    leave(&main_stack_pointer_);
    kce_thread = nullptr;
    unwatch(watched_);
    if (fault() == Success)
        if (const char* array = shared_.overrun())
            record_fault(IllegalAddress, std::string(launch.kernel->name) + ": wrote past the end of shared array '" + array + "'");
}

// Leaves the running context, to be resumed through *save: goes on with the next ready fiber, else with a thread that
// has not started, else with run() when the block has finished.
void BlockRunner::leave(void** save)
{
    auto* me = save == &main_stack_pointer_ ? nullptr : running();
    if (__builtin_expect(me && is_overdue(), 0)) kernel_is_overdue(); // it waits without end
    if (__builtin_expect(ready_count_ != 0, 1))
    {
        Fiber* next = &fibers_[pop_front()];
        next->state = Fiber::State::Running;
        if (next == me) return;
        kce_thread = next;
        switch_stack(save, next->stack_pointer);
    }
    else if (next_fresh_ < fibers_.size()) start_stack(save);
    else if (alive_ == 0) switch_stack(save, main_stack_pointer_);
    else report_deadlock();
    if (me) kce_thread = me;
}

void BlockRunner::start_stack(void** save)
{
    if (free_stacks_.empty()) starting_stack_ = stacks_used_++;
    else
    {
        starting_stack_ = free_stacks_.back();
        free_stacks_.pop_back();
    }
    set_canary(starting_stack_);
    auto** top = static_cast<void**>(stack_top(starting_stack_));
    *--top = reinterpret_cast<void*>(&kce_fiber_entry);
    switch_stack(save, top);
}

// The life of a stack: it keeps taking threads that have not started, so that threads which never wait cost no switch.
void BlockRunner::run_fibers()
{
    int stack = starting_stack_;
    do
    {
        Fiber& fiber = fibers_[in_order(next_fresh_++)];
        fiber.stack = stack;
        fiber.state = Fiber::State::Running;
        kce_thread = &fiber;
        launch_->kernel->invoke(launch_->parameters);
        check_finished(fiber);
        fiber.state = Fiber::State::Finished;
        alive_--;
        if (alive_ != 0 && at_barrier_ == alive_) release_barrier();
    } while (ready_count_ == 0 && next_fresh_ < fibers_.size());
    free_stacks_.push_back(stack);
    void* never_resumed;
    leave(&never_resumed);
    std::abort();
}

void BlockRunner::check_finished(const Fiber& fiber)
{
    if (!fiber.copies.empty())
        kce_fail("%s: thread %u ends with cp.async copies it never waited for, issued at %s", kernel().name,
                 fiber.linear, fiber.copies.front().where);
    if (const char* begun = warpgroups_.unfinished(fiber))
        kce_fail("%s: thread %u ends with a wgmma that it never waited for, begun at %s", kernel().name, fiber.linear, begun);
    if (!canary_intact(fiber.stack))
        kce_fail("%s: thread %u needs more than %zu bytes of stack (KERNELCONTRAST_EMULATOR_STACK)", kernel().name,
                 fiber.linear, settings().stack_bytes);
}

void BlockRunner::wait_at_barrier(const char* where)
{
    Fiber* me = running();
    if (at_barrier_ != 0)
    {
        // All threads of a block must stand at one and the same barrier.
        for (const Fiber& other : fibers_)
        {
            if (other.state != Fiber::State::AtBarrier) continue;
            if (other.waits_at != where && std::strcmp(other.waits_at, where) != 0)
                kce_fail("%s: divergent __syncthreads: thread %u is at %s, thread %u at %s", kernel().name, other.linear,
                         other.waits_at, me->linear, where);
            break;
        }
    }
    me->waits_at = where;
    me->waits_for = "__syncthreads";
    me->state = Fiber::State::AtBarrier;
    if (++at_barrier_ == alive_) release_barrier();
    leave(&me->stack_pointer);
}

void BlockRunner::release_barrier()
{
    at_barrier_ = 0;
    barrier_epoch_++;
    for (unsigned i = 0; i < fibers_.size(); i++)
    {
        Fiber& fiber = fibers_[in_order(i)];
        if (fiber.state != Fiber::State::AtBarrier) continue;
        fiber.state = Fiber::State::Ready;
        push_back(fiber.linear);
    }
}

void BlockRunner::meet(unsigned mask, const char* kind, void* operands, LaneFunction function, const char* where)
{
    Fiber* me = running();
    unsigned warp_index = me->linear / 32, lane = me->linear % 32;
    Warp& warp = warps_[warp_index];
    unsigned lanes_left = static_cast<unsigned>(fibers_.size()) - warp_index * 32;
    unsigned needed = lanes_left >= 32 ? mask : mask & ((1u << lanes_left) - 1);
    if (!(mask >> lane & 1))
        kce_fail("%s: thread %u calls %s at %s with a mask that lacks its own lane", kernel().name, me->linear, kind, where);

    Meeting* meeting = nullptr;
    for (Meeting& m : warp.meetings)
        if (m.mask == needed && !(m.arrived >> lane & 1)) { meeting = &m; break; }
    if (!meeting)
    {
        for (Meeting& m : warp.meetings)
            if (m.mask == 0) { meeting = &m; break; }
        if (!meeting) kce_fail("%s: a warp waits in more than 8 collectives at once, at %s", kernel().name, where);
        meeting->mask = needed;
        meeting->arrived = 0;
        meeting->kind = kind;
    }
    if (meeting->kind != kind && std::strcmp(meeting->kind, kind) != 0)
        kce_fail("%s: lanes of one warp meet in different collectives: %s, and %s of thread %u at %s", kernel().name,
                 meeting->kind, kind, me->linear, where);

    meeting->operands[lane] = operands;
    meeting->arrived |= 1u << lane;
    me->waits_at = where;
    me->waits_for = kind;
    me->state = Fiber::State::InCollective;
    if (meeting->arrived == needed)
    {
        if (function) function(meeting->operands, needed);
        else warp.epoch++;
        meeting->mask = 0;
        // The whole warp goes on before anybody else, in canonical order whoever came last.
        bool reverse = settings().order == Order::Reverse;
        for (int i = 0; i < 32; i++)
        {
            unsigned l = reverse ? i : 31 - i;
            if (!(needed >> l & 1)) continue;
            fibers_[warp_index * 32 + l].state = Fiber::State::Ready;
            push_front(warp_index * 32 + l);
        }
    }
    leave(&me->stack_pointer);
}

void BlockRunner::wait_for_warpgroup(const char* where)
{
    Fiber* me = running();
    me->waits_at = where;
    me->waits_for = "wgmma";
    me->state = Fiber::State::InCollective;
    leave(&me->stack_pointer);
}

// The whole warpgroup goes on before anybody else, in canonical order whoever came last.
void BlockRunner::release_warpgroup(unsigned warpgroup)
{
    bool reverse = settings().order == Order::Reverse;
    for (unsigned i = 0; i < 128; i++)
    {
        unsigned fiber = warpgroup * 128 + (reverse ? i : 127 - i);
        fibers_[fiber].state = Fiber::State::Ready;
        push_front(fiber);
    }
}

void BlockRunner::report_deadlock()
{
    std::string text = std::string(kernel().name) + ": threads wait for others that never come:";
    const char* last = nullptr;
    int shown = 0;
    for (const Fiber& fiber : fibers_)
    {
        if (fiber.state != Fiber::State::AtBarrier && fiber.state != Fiber::State::InCollective) continue;
        if (fiber.waits_at == last || shown == 4) continue;
        last = fiber.waits_at;
        shown++;
        text += " thread " + std::to_string(fiber.linear) + " in " + fiber.waits_for + " at " + fiber.waits_at + ";";
    }
    unsigned finished = static_cast<unsigned>(fibers_.size()) - alive_;
    text += " " + std::to_string(finished) + " of " + std::to_string(fibers_.size()) + " threads have ended";
    record_fault(LaunchFailed, text);
    abandon();
}

// Gives the block up: its fibers are never resumed.
void BlockRunner::abandon()
{
    void* never_resumed;
    switch_stack(&never_resumed, main_stack_pointer_);
    std::abort();
}
}

asm(".text\n"
    ".globl kce_fiber_entry\n"
    ".hidden kce_fiber_entry\n"
    "kce_fiber_entry:\n"
    "  xorl %ebp, %ebp\n"
    "  call kce_fiber_main\n"
    "  ud2\n");

extern "C" __attribute__((visibility("hidden"), used)) void kce_fiber_main() { kce::BlockRunner::current()->run_fibers(); }

extern "C" void kce_syncthreads(const char* where) { kce::BlockRunner::current()->wait_at_barrier(where); }

extern "C" void kce_collective(unsigned mask, const char* kind, void* operands, kce::LaneFunction function, const char* where)
{
    kce::BlockRunner::current()->meet(mask, kind, operands, function, where);
}

extern "C" void* kce_shared(const void* declaration, size_t bytes, const char* name, const char* where)
{
    return kce::BlockRunner::current()->shared().declare(declaration, bytes, name, where);
}

extern "C" void* kce_dynamic_shared() { return kce::BlockRunner::current()->shared().dynamic(); }

extern "C" void kce_fail(const char* format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    kce::record_fault(kce::LaunchFailed, text);
    kce::BlockRunner::current()->abandon();
}
