// How the emulator schedules: chosen by environment variables, or by kceConfigure in tests.
#pragma once
#include <cstddef>
#include <string>

namespace kce
{
// A program without races gives the same result in every combination. Forward and reverse between them expose a
// missing barrier whichever of the two threads ought to come first; early and late copies expose a missing wait and a
// buffer that is refilled too soon.
enum class Order { Forward, Reverse };
enum class CopyTiming { Early, Late };

struct Settings
{
    Order order = Order::Forward;      // KERNELCONTRAST_EMULATOR_ORDER = forward | reverse
    CopyTiming copies = CopyTiming::Late; // KERNELCONTRAST_EMULATOR_COPIES = early | late
    int threads;                       // KERNELCONTRAST_EMULATOR_THREADS, OS threads that run blocks
    size_t stack_bytes = 64 << 10;     // KERNELCONTRAST_EMULATOR_STACK, of each CUDA thread
    int capability = 80;               // KERNELCONTRAST_EMULATOR_CAPABILITY = 8.0 | 9.0, what the device says it is
    double watchdog_seconds = 60;      // KERNELCONTRAST_EMULATOR_WATCHDOG, processor time of a block; 0: no limit

    std::string problem; // names a variable with a wrong value, which cuInit refuses; else empty

    Settings();

private:
    void refuse(const char* name, const char* value, const std::string& expected);
};

Settings& settings();
}
