// Driver API: modules, functions, launches. A module image is a host shared object made from a kernel file.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device_memory.h"
#include "driver.h"
#include "grid.h"

using namespace kce;

namespace
{
struct Function
{
    const Kernel* kernel;
    CodeRange code;
    unsigned dynamic_limit = SharedMemory::DynamicDefault;
};

struct Module
{
    void* library;
    int file; // stays open: the loader tells modules apart by path, and the path names this descriptor
    CodeRange code;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

std::mutex launch_guard;

constexpr size_t ParameterLimit = 4096; // bytes, as of CUDA before 12.1

// Size of an ELF image in memory, from where its section table ends; 0 when it is none of ours.
size_t image_size(const void* image)
{
    auto* header = static_cast<const Elf64_Ehdr*>(image);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_machine != EM_X86_64 || header->e_type != ET_DYN)
        return 0;
    return header->e_shoff + size_t{header->e_shentsize} * header->e_shnum;
}

bool write_all(int file, const void* data, size_t bytes)
{
    for (size_t done = 0; done < bytes;)
    {
        ssize_t n = write(file, static_cast<const char*>(data) + done, bytes - done);
        if (n <= 0) return false;
        done += static_cast<size_t>(n);
    }
    return true;
}

// Where the loader put a library's instructions.
CodeRange code_of(void* library)
{
    link_map* map = nullptr;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return {};
    auto* base = reinterpret_cast<const char*>(map->l_addr);
    auto* header = reinterpret_cast<const Elf64_Ehdr*>(base);
    auto* segments = reinterpret_cast<const Elf64_Phdr*>(base + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_X)
            return {base + segments[i].p_vaddr, base + segments[i].p_vaddr + segments[i].p_memsz};
    return {};
}

size_t aligned(size_t offset, size_t size)
{
    size_t alignment = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size;
    return (offset + alignment - 1) / alignment * alignment;
}

std::string sizes(Index i) { return std::to_string(i.x) + "x" + std::to_string(i.y) + "x" + std::to_string(i.z); }
}

KCE_API cuModuleLoadData(void** module, const void* image)
{
    if (Result r = ready()) return r;
    size_t bytes = image_size(image);
    if (bytes == 0) return error(InvalidImage, "the image is no x86-64 kernel module of the emulator");
#ifdef KCE_MODULES_NEED_AVX2
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return error(NotSupported, "the kernel modules are compiled for processors with AVX2 and FMA (x86-64-v3); build "
                                   "with -DKERNELCONTRAST_EMULATOR_ARCH=x86-64 for this one");
#endif
    int file = memfd_create("kernel_module", MFD_CLOEXEC);
    if (file < 0 || !write_all(file, image, bytes)) return error(OutOfMemory, "no memory for the kernel module");
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
    {
        Result r = error(SharedObjectInitFailed, std::string("kernel module: ") + dlerror());
        close(file);
        return r;
    }
    *module = new Module{library, file, code_of(library), {}};
    return Success;
}

KCE_API cuModuleUnload(void* handle)
{
    auto* module = static_cast<Module*>(handle);
    dlclose(module->library);
    close(module->file);
    delete module;
    return Success;
}

KCE_API cuModuleGetFunction(void** function, void* handle, const char* name)
{
    if (Result r = ready()) return r;
    auto* module = static_cast<Module*>(handle);
    std::lock_guard lock(launch_guard);
    auto& slot = module->functions[name];
    if (!slot)
    {
        auto* kernel = static_cast<const Kernel*>(dlsym(module->library, ("kce_kernel_" + std::string(name)).c_str()));
        if (!kernel)
        {
            module->functions.erase(name);
            return error(NotFound, "the module has no kernel '" + std::string(name) + "'");
        }
        slot = std::make_unique<Function>(Function{kernel, module->code});
    }
    *function = slot.get();
    return Success;
}

KCE_API cuFuncSetAttribute(void* handle, int attribute, int value)
{
    if (Result r = ready()) return r;
    constexpr int MaxDynamicSharedBytes = 8;
    if (attribute != MaxDynamicSharedBytes) return Success;
    if (value < 0 || static_cast<size_t>(value) > SharedMemory::DynamicLimit)
        return error(InvalidValue, "dynamic shared memory of " + std::to_string(value) + " bytes, the device has " +
                                       std::to_string(SharedMemory::DynamicLimit));
    static_cast<Function*>(handle)->dynamic_limit = static_cast<unsigned>(value);
    return Success;
}

KCE_API cuFuncGetParamInfo(void* handle, size_t index, size_t* offset, size_t* size)
{
    const Kernel* kernel = static_cast<Function*>(handle)->kernel;
    if (index >= static_cast<size_t>(kernel->parameter_count)) return InvalidValue;
    size_t end = 0;
    for (size_t i = 0; i <= index; i++)
    {
        size_t bytes = static_cast<size_t>(kernel->parameter_sizes[i]);
        *offset = aligned(end, bytes);
        end = *offset + bytes;
        if (size) *size = bytes;
    }
    return Success;
}

KCE_API cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                       unsigned block_z, unsigned shared_bytes, void* stream, void** parameters, void** extra)
{
    if (Result r = ready()) return r;
    auto* function = static_cast<Function*>(handle);
    const Kernel& kernel = *function->kernel;
    const Index grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    const std::string name = kernel.name;
    if (!is_stream(stream)) return error(InvalidHandle, name + ": launched on an unknown stream");
    if (grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535)
        return error(InvalidValue, name + ": a grid of " + sizes(grid) + " blocks");
    uint64_t threads = uint64_t{block_x} * block_y * block_z;
    if (threads == 0 || block_z > 64 || threads > static_cast<uint64_t>(kernel.max_threads))
        return error(InvalidValue, name + ": a block of " + sizes(block) + " threads, the kernel takes up to " +
                                       std::to_string(kernel.max_threads));
    if (shared_bytes > function->dynamic_limit)
        return error(InvalidValue, name + ": " + std::to_string(shared_bytes) + " bytes of dynamic shared memory, more than " +
                                       std::to_string(function->dynamic_limit) + " (cuFuncSetAttribute raises it)");
    if (extra || (!parameters && kernel.parameter_count > 0)) return error(InvalidValue, name + ": launched without parameters");

    if (is_capturing(stream))
    {
        auto values = std::make_shared<std::vector<std::vector<char>>>();
        for (int i = 0; i < kernel.parameter_count; i++)
        {
            auto* from = static_cast<const char*>(parameters[i]);
            values->emplace_back(from, from + kernel.parameter_sizes[i]);
        }
        return capture([=] {
            std::vector<void*> pointers;
            for (auto& value : *values) pointers.push_back(value.data());
            return static_cast<Result>(cuLaunchKernel(handle, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, nullptr, pointers.data(), nullptr));
        });
    }

    // Parameters are copied at the launch: the caller's may change afterwards.
    std::lock_guard lock(launch_guard);
    alignas(16) static char copies[ParameterLimit];
    static void* pointers[ParameterLimit / 4];
    size_t end = 0;
    for (int i = 0; i < kernel.parameter_count; i++)
    {
        auto bytes = static_cast<size_t>(kernel.parameter_sizes[i]);
        end = aligned(end, bytes);
        if (end + bytes > ParameterLimit) return error(InvalidValue, name + ": more than 4096 bytes of parameters");
        std::memcpy(copies + end, parameters[i], bytes);
        pointers[i] = copies + end;
        end += bytes;
    }
    run_grid({&kernel, pointers, grid, block, shared_bytes, function->code});
    locate_fault();
    check_guards(kernel.name);
    return fault();
}
