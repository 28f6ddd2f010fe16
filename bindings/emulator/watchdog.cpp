#include "watchdog.h"

#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "block.h"
#include "errors.h"
#include "settings.h"

namespace kce
{
namespace
{
std::mutex guard;
std::vector<Watched*>& all()
{
    static auto& list = *new std::vector<Watched*>; // outlives static destruction, as the threads do
    return list;
}

int stop_signal() { return SIGRTMIN + 7; }

int64_t nanoseconds(clockid_t clock)
{
    timespec t{};
    clock_gettime(clock, &t);
    return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

// On the interrupted thread. In a kernel's own code no lock is held and nothing is half done, so it goes on in
// kernel_is_overdue; anywhere else the next signal may find it there.
void on_stop(int, siginfo_t*, void* context)
{
    BlockRunner* runner = BlockRunner::current();
    if (!runner || !kce_thread || !runner->is_overdue()) return;
    auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    if (!runner->code().holds(reinterpret_cast<void*>(registers[REG_RIP]))) return;
    runner->watched().interrupted = reinterpret_cast<void*>(registers[REG_RIP]);
    // Below the red zone, and as a call leaves it.
    registers[REG_RSP] = ((registers[REG_RSP] - 256) & ~15LL) - 8;
    registers[REG_RIP] = reinterpret_cast<greg_t>(&kernel_is_overdue);
}

// Processor time, not time on the wall: a busy machine does not make a kernel endless.
void patrol()
{
    const auto limit = static_cast<int64_t>(settings().watchdog_seconds * 1e9);
    for (;;)
    {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        std::lock_guard lock(guard);
        for (Watched* watched : all())
        {
            uint64_t block = watched->block;
            clockid_t clock;
            if (block % 2 == 0 || pthread_getcpuclockid(watched->thread, &clock) != 0) continue;
            if (nanoseconds(clock) - watched->began < limit || watched->block != block) continue;
            watched->overdue = block;
            pthread_kill(watched->thread, stop_signal());
        }
    }
}

void start()
{
    struct sigaction action{};
    action.sa_sigaction = on_stop;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(stop_signal(), &action, nullptr);
    std::thread(patrol).detach();
}
}

void watch(Watched& watched)
{
    if (settings().watchdog_seconds <= 0) return;
    if (watched.block == 0 || watched.thread != pthread_self())
    {
        // Blocks of a launch of one block run on whichever thread launches.
        static std::once_flag once;
        std::call_once(once, start);
        std::lock_guard lock(guard);
        if (watched.block == 0) all().push_back(&watched);
        watched.thread = pthread_self();
    }
    watched.interrupted = nullptr;
    watched.began = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    watched.block++;
}

void unwatch(Watched& watched)
{
    if (watched.block % 2 == 1) watched.block++;
}

void kernel_is_overdue()
{
    BlockRunner& runner = *BlockRunner::current();
    char text[512];
    std::snprintf(text, sizeof text,
                  "%s: does not end: a block has run for more than %g s of processor time (KERNELCONTRAST_EMULATOR_WATCHDOG), thread %u",
                  runner.kernel().name, settings().watchdog_seconds, BlockRunner::running()->linear);
    const void* pc = runner.watched().interrupted;
    // locate_fault takes an address for that behind a call.
    if (pc) record_fault(LaunchTimeout, text, static_cast<const char*>(pc) + 1);
    else record_fault(LaunchTimeout, std::string(text) + " at " + BlockRunner::running()->waits_at);
    runner.abandon();
}
}
