// What the rooms of the driver API share.
#pragma once
#include <cstddef>
#include <cstdint>

#include "errors.h"

#define KCE_API extern "C" __attribute__((visibility("default"))) int

namespace kce
{
// Every call needs cuInit, a context current on the calling thread, and no fault so far.
Result ready();

// Whether the handle is a stream that was created and not destroyed, or null, the default stream.
bool is_stream(void* stream);

// A copy to the device from host memory; if that is pinned it must stay as it is until the copy is waited for.
void copy_begins(const void* from, size_t bytes);

// All copies so far are waited for; an error when the source of one has changed since.
Result finish_copies();
}
