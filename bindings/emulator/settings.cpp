#include "settings.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

namespace kce
{
namespace
{
constexpr double MostStack = 1 << 30;
constexpr double MostSeconds = 1e9; // in nanoseconds still an int64

// The value of a variable; null where it is not set, or empty.
const char* value_of(const char* name)
{
    const char* value = std::getenv(name);
    return value && *value ? value : nullptr;
}
}

Settings::Settings() : threads(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 256u)))
{
    // One of two words: whether it is the second.
    auto choose = [this](const char* name, const char* first, const char* second) {
        const char* value = value_of(name);
        if (!value || std::string(value) == first) return false;
        if (std::string(value) == second) return true;
        refuse(name, value, std::string(first) + " or " + second);
        return false;
    };
    auto number = [this](const char* name, double least, double most, bool whole, double otherwise, const char* expected) {
        const char* value = value_of(name);
        if (!value) return otherwise;
        char* end = nullptr;
        double given = std::strtod(value, &end);
        // Not a number is neither below the least nor above the most.
        if (*end == 0 && given >= least && given <= most && (!whole || given == std::floor(given))) return given;
        refuse(name, value, expected);
        return otherwise;
    };
    order = choose("KERNELCONTRAST_EMULATOR_ORDER", "forward", "reverse") ? Order::Reverse : Order::Forward;
    copies = choose("KERNELCONTRAST_EMULATOR_COPIES", "late", "early") ? CopyTiming::Early : CopyTiming::Late;
    capability = choose("KERNELCONTRAST_EMULATOR_CAPABILITY", "8.0", "9.0") ? 90 : 80;
    threads = static_cast<int>(number("KERNELCONTRAST_EMULATOR_THREADS", 1, 256, true, threads, "a number of threads, 1 to 256"));
    stack_bytes = static_cast<size_t>(number("KERNELCONTRAST_EMULATOR_STACK", 16384, MostStack, true,
                                             static_cast<double>(stack_bytes), "bytes, 16384 to 1073741824")) & ~size_t{4095};
    watchdog_seconds = number("KERNELCONTRAST_EMULATOR_WATCHDOG", 0, MostSeconds, false, watchdog_seconds,
                              "seconds, or 0 for no limit");
}

void Settings::refuse(const char* name, const char* value, const std::string& expected)
{
    if (problem.empty()) problem = std::string(name) + "=" + value + ": expected " + expected;
}

Settings& settings()
{
    static Settings instance;
    return instance;
}
}
