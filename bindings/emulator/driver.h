// What the rooms of the driver API share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

#include "errors.h"

#define KCE_API extern "C" __attribute__((visibility("default"))) int

namespace kce
{
// Every call needs cuInit, a context current on the calling thread, and no fault so far.
Result ready();

// Whether the handle is a stream that was created and not destroyed, or null, the default stream.
bool is_stream(void* stream);

// A stream that captures a graph: its work is kept by capture(), not done, and nobody can wait for it.
bool is_capturing(void* stream);
Result capture(std::function<Result()> work);
Result refuse_while_capturing(void* stream, const char* call);

// A copy to the device from host memory; if that is pinned it must stay as it is until the copy is waited for.
void copy_begins(const void* from, size_t bytes);

// All copies so far are waited for; an error when the source of one has changed since.
Result finish_copies();
}
