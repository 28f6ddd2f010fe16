#include "errors.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace kce
{
namespace
{
std::mutex guard;
std::string last_detail;
std::string fault_detail;
const void* fault_pc = nullptr;
std::atomic<int> fault_code{Success};
}

Result error(Result code, const std::string& detail)
{
    std::lock_guard lock(guard);
    last_detail = detail;
    return code;
}

void record_fault(Result code, const std::string& detail, const void* pc)
{
    std::lock_guard lock(guard);
    if (fault_code != Success) return;
    fault_detail = detail;
    fault_pc = pc;
    fault_code = code;
}

// Asks addr2line, which comes with g++, on the host's own stack after the launch; without it the offset must do.
void locate_fault()
{
    std::lock_guard lock(guard);
    Dl_info image;
    if (!fault_pc || !dladdr(fault_pc, &image) || !image.dli_fname) return;
    std::string path = image.dli_fname;
    const std::string own = "/proc/self/";
    if (path.rfind(own, 0) == 0) path = "/proc/" + std::to_string(getpid()) + "/" + path.substr(own.size());
    char command[600], line[512] = "";
    // The call returns behind the access: step back into it.
    long offset = static_cast<const char*>(fault_pc) - static_cast<const char*>(image.dli_fbase) - 1;
    std::snprintf(command, sizeof command, "addr2line -e '%s' 0x%lx 2>/dev/null", path.c_str(), offset);
    if (FILE* pipe = popen(command, "r"))
    {
        if (!std::fgets(line, sizeof line, pipe)) line[0] = 0;
        pclose(pipe);
    }
    std::string place(line, std::strcspn(line, "\n"));
    if (place.empty() || place[0] == '?') place = std::string(image.dli_sname ? image.dli_sname : "?") + " + " + std::to_string(offset);
    fault_detail += " at " + place.substr(0, place.find(" ("));
    fault_pc = nullptr;
}

Result fault() { return static_cast<Result>(fault_code.load(std::memory_order_relaxed)); }

void clear_fault()
{
    std::lock_guard lock(guard);
    fault_code = Success;
    fault_detail.clear();
}

std::string error_detail()
{
    std::lock_guard lock(guard);
    return fault_code != Success ? fault_detail : last_detail;
}

namespace
{
struct Description
{
    int code;
    const char *name, *text;
};

constexpr Description descriptions[] = {
    {Success, "CUDA_SUCCESS", "no error"},
    {InvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "cuInit was not called"},
    {InvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {InvalidImage, "CUDA_ERROR_INVALID_IMAGE", "the image is no kernel module of the emulator"},
    {InvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "no context is current on this thread"},
    {SharedObjectInitFailed, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", "the kernel module could not be loaded"},
    {InvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid handle"},
    {NotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {LaunchTimeout, "CUDA_ERROR_LAUNCH_TIMEOUT", "a kernel does not end"},
    {LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "a kernel failed"},
    {CaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {IllegalState, "CUDA_ERROR_ILLEGAL_STATE", "not in the state that the call needs"},
    {NotSupported, "CUDA_ERROR_NOT_SUPPORTED", "not supported by the emulated driver"},
};

const Description* describe(int code)
{
    for (const Description& d : descriptions)
        if (d.code == code) return &d;
    return nullptr;
}
}

const char* error_name(int code)
{
    const Description* d = describe(code);
    return d ? d->name : nullptr;
}

const char* error_text(int code)
{
    const Description* d = describe(code);
    return d ? d->text : nullptr;
}
}
