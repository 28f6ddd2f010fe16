// Driver API: initialisation, device, context, streams, errors.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "abi.h"
#include "device_memory.h"
#include "driver.h"
#include "settings.h"
#include "shared_memory.h"

using namespace kce;

namespace
{
std::atomic<bool> initialised{false};
std::atomic<int> context_users{0};
char context_object; // its address is the primary context's handle
std::mutex contexts_guard;
std::set<void*> contexts; // others; memory, streams and modules are shared by all
thread_local void* current_context = nullptr;

std::mutex streams_guard;
std::set<void*> streams;
}

namespace kce
{
Result ready()
{
    if (!initialised) return error(NotInitialized, "cuInit was not called");
    if (!current_context) return error(InvalidContext, "no context is current on this thread: call cuCtxSetCurrent");
    return fault();
}

bool is_stream(void* stream)
{
    std::lock_guard lock(streams_guard);
    // 0, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD are there without being created.
    return reinterpret_cast<uintptr_t>(stream) <= 2 || streams.count(stream) != 0;
}
}

KCE_API cuInit(unsigned flags)
{
    if (flags != 0) return error(InvalidValue, "cuInit takes no flags");
    if (!settings().problem.empty()) return error(InvalidValue, settings().problem);
    initialised = true;
    return Success;
}

KCE_API cuDriverGetVersion(int* version)
{
    *version = 12040;
    return Success;
}

KCE_API cuDeviceGetCount(int* count)
{
    if (!initialised) return NotInitialized;
    *count = 1;
    return Success;
}

KCE_API cuDeviceGet(int* device, int ordinal)
{
    if (!initialised) return NotInitialized;
    if (ordinal != 0) return error(InvalidDevice, "the emulated driver has one device, number 0");
    *device = 0;
    return Success;
}

KCE_API cuDeviceGetName(char* name, int length, int)
{
    std::snprintf(name, static_cast<size_t>(length), "Emulated CUDA device on the CPU");
    return Success;
}

KCE_API cuDeviceTotalMem_v2(size_t* bytes, int)
{
    *bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
    return Success;
}

// The emulated device answers as one of compute capability 8.0, unless the settings say 9.0; its limits are those of 8.0.
KCE_API cuDeviceGetAttribute(int* value, int attribute, int)
{
    switch (attribute)
    {
        case 1: *value = 1024; return Success;       // threads per block
        case 2: *value = 1024; return Success;       // block width
        case 3: *value = 1024; return Success;       // block height
        case 4: *value = 64; return Success;         // block depth
        case 5: *value = 0x7fffffff; return Success; // grid width
        case 6: *value = 65535; return Success;      // grid height
        case 7: *value = 65535; return Success;      // grid depth
        case 8: *value = SharedMemory::DynamicDefault; return Success;
        case 10: *value = 32; return Success; // warp size
        case 16: *value = settings().threads; return Success; // multiprocessors
        case 75: *value = settings().capability / 10; return Success;
        case 76: *value = settings().capability % 10; return Success;
        case 97: *value = SharedMemory::DynamicLimit; return Success;
        default: return error(NotSupported, "device attribute " + std::to_string(attribute) + " is not emulated");
    }
}

KCE_API cuDevicePrimaryCtxRetain(void** context, int device)
{
    if (!initialised) return NotInitialized;
    if (device != 0) return InvalidDevice;
    context_users++;
    *context = &context_object;
    return fault();
}

KCE_API cuDevicePrimaryCtxRelease_v2(int)
{
    if (context_users == 0) return error(InvalidContext, "the primary context was released more often than retained");
    context_users--;
    return Success;
}

// Ends a fault and frees all memory, as on a GPU.
KCE_API cuDevicePrimaryCtxReset_v2(int)
{
    free_all_device_memory();
    clear_fault();
    return Success;
}

KCE_API cuCtxSetCurrent(void* context)
{
    if (!initialised) return NotInitialized;
    std::lock_guard lock(contexts_guard);
    if (context && context != &context_object && contexts.count(context) == 0) return error(InvalidContext, "not a context of the emulated driver");
    current_context = context;
    return Success;
}

KCE_API cuCtxCreate_v2(void** context, unsigned, int device)
{
    if (!initialised) return NotInitialized;
    if (device != 0) return InvalidDevice;
    std::lock_guard lock(contexts_guard);
    current_context = *context = new char;
    contexts.insert(*context);
    return Success;
}

KCE_API cuCtxDestroy_v2(void* context)
{
    std::lock_guard lock(contexts_guard);
    if (contexts.erase(context) == 0) return error(InvalidContext, "cuCtxDestroy of a context that cuCtxCreate did not give");
    if (current_context == context) current_context = nullptr;
    delete static_cast<char*>(context);
    return Success;
}

KCE_API cuCtxGetDevice(int* device)
{
    if (Result r = ready()) return r;
    *device = 0;
    return Success;
}

KCE_API cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active)
{
    if (!initialised) return NotInitialized;
    if (device != 0) return InvalidDevice;
    *flags = 0;
    *active = context_users > 0;
    return Success;
}

KCE_API cuCtxGetCurrent(void** context)
{
    *context = current_context;
    return initialised ? Success : NotInitialized;
}

KCE_API cuCtxSynchronize()
{
    if (Result r = ready()) return r;
    return finish_copies();
}

KCE_API cuStreamCreate(void** stream, unsigned)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(streams_guard);
    *stream = new char;
    streams.insert(*stream);
    return Success;
}

KCE_API cuStreamDestroy_v2(void* stream)
{
    std::lock_guard lock(streams_guard);
    if (streams.erase(stream) == 0) return error(InvalidHandle, "cuStreamDestroy of an unknown stream");
    delete static_cast<char*>(stream);
    return Success;
}

// Launches and copies run at once, so there is nothing to wait for but the end of copies' claim to their sources.
KCE_API cuStreamSynchronize(void* stream)
{
    if (Result r = ready()) return r;
    if (Result r = refuse_while_capturing(stream, "cuStreamSynchronize")) return r;
    return is_stream(stream) ? finish_copies() : error(InvalidHandle, "cuStreamSynchronize of an unknown stream");
}

KCE_API cuStreamQuery(void* stream)
{
    if (Result r = ready()) return r;
    if (Result r = refuse_while_capturing(stream, "cuStreamQuery")) return r;
    return is_stream(stream) ? Success : error(InvalidHandle, "cuStreamQuery of an unknown stream");
}

KCE_API cuGetErrorName(int code, const char** name)
{
    *name = error_name(code);
    return *name ? Success : InvalidValue;
}

KCE_API cuGetErrorString(int code, const char** text)
{
    *text = error_text(code);
    return *text ? Success : InvalidValue;
}

// ---- Beside the driver API ----

// The text behind the last error: which kernel, which thread, which line. Returns its length.
KCE_API kceErrorDetail(char* text, int capacity)
{
    std::string detail = error_detail();
    std::snprintf(text, static_cast<size_t>(capacity), "%s", detail.c_str());
    return static_cast<int>(detail.size());
}

// Order: 0 forward, 1 reverse. Copies: 0 early, 1 late.
KCE_API kceConfigure(int order, int copies)
{
    if (order < 0 || order > 1 || copies < 0 || copies > 1) return InvalidValue;
    settings().order = static_cast<Order>(order);
    settings().copies = static_cast<CopyTiming>(copies);
    return Success;
}

// What compute capability devices that are opened from now on have: 8.0 or 9.0.
KCE_API kceSetCapability(int major, int minor)
{
    if ((major != 8 && major != 9) || minor != 0) return InvalidValue;
    settings().capability = 10 * major + minor;
    return Success;
}
