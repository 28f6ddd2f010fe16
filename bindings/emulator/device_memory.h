// Device memory: host memory with bounds, guard regions, NaN in what was never written.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "errors.h"

namespace kce
{
// 0 when out of memory.
uint64_t allocate_device_memory(size_t bytes);

Result free_device_memory(uint64_t address);
void free_all_device_memory();

// Whether [address, address + bytes) lies within one allocation; else an error that says what `operation` did.
Result check_range(uint64_t address, size_t bytes, const char* operation);

// For the initialised bits of checked mode.
void mark_written(uint64_t address, size_t bytes);

// After a launch: a fault when a guard region beside an allocation was written to.
void check_guards(const char* kernel);

enum class Access { Fine, Uninitialised, OutOfBounds };

// Checked mode: looks up and updates the initialised bits; describes the nearest allocation when out of bounds.
Access access_device_memory(const void* address, size_t bytes, bool write, std::string& description);
}
