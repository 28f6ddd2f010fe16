// What the rooms of the driver API share.
#pragma once
#include <cstdint>

#include "errors.h"

#define KCE_API extern "C" __attribute__((visibility("default"))) int

namespace kce
{
// Every call needs cuInit, a context current on the calling thread, and no fault so far.
Result ready();

// Whether the handle is a stream that was created and not destroyed, or null, the default stream.
bool is_stream(void* stream);
}
