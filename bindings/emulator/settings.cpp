#include "settings.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace kce
{
Settings::Settings() : threads(std::max(1u, std::thread::hardware_concurrency()))
{
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_ORDER"))
        order = std::strcmp(value, "reverse") == 0 ? Order::Reverse : Order::Forward;
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_COPIES"))
        copies = std::strcmp(value, "early") == 0 ? CopyTiming::Early : CopyTiming::Late;
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_THREADS"))
        threads = std::clamp(std::atoi(value), 1, 256);
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_STACK"))
        stack_bytes = std::max(16384l, std::atol(value)) & ~4095ul;
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_CAPABILITY"))
        capability = std::strcmp(value, "9.0") == 0 ? 90 : 80;
    if (const char* value = std::getenv("KERNELCONTRAST_EMULATOR_WATCHDOG"))
        watchdog_seconds = std::atof(value);
}

Settings& settings()
{
    static Settings instance;
    return instance;
}
}
