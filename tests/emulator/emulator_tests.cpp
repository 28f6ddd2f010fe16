// Tests of the emulated driver itself: every planted bug is rejected, its correct twin accepted.
//   emulator_tests <folder of the modules> <name of a test, or nothing for all>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

extern "C"
{
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void**, int);
int cuDevicePrimaryCtxReset_v2(int);
int cuCtxSetCurrent(void*);
int cuStreamCreate(void**, unsigned);
int cuStreamDestroy_v2(void*);
int cuStreamSynchronize(void*);
int cuMemAlloc_v2(uint64_t*, size_t);
int cuMemFree_v2(uint64_t);
int cuMemcpyHtoDAsync_v2(uint64_t, const void*, size_t, void*);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuEventCreate(void**, unsigned);
int cuEventDestroy_v2(void*);
int cuEventRecord(void*, void*);
int cuEventSynchronize(void*);
int cuMemcpyDtoHAsync_v2(void*, uint64_t, size_t, void*);
int cuMemsetD32Async(uint64_t, unsigned, size_t, void*);
int cuModuleLoadData(void**, const void*);
int cuModuleUnload(void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuFuncGetParamInfo(void*, size_t, size_t*, size_t*);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int kceErrorDetail(char*, int);
int kceConfigure(int, int);
}

namespace
{
constexpr int N = 256;
std::string folder;
int failures = 0;

std::string detail()
{
    char text[1024];
    kceErrorDetail(text, sizeof text);
    return text;
}

void expect(bool condition, const std::string& what)
{
    if (condition) return;
    failures++;
    std::printf("    FAILED: %s\n", what.c_str());
}

void expect_code(int code, int expected, const std::string& what)
{
    expect(code == expected, what + " gave " + std::to_string(code) + ", expected " + std::to_string(expected) +
                                 (code ? " (" + detail() + ")" : ""));
}

void* load(const std::string& file)
{
    std::ifstream stream(folder + "/" + file, std::ios::binary);
    std::vector<char> image((std::istreambuf_iterator<char>(stream)), {});
    void* module = nullptr;
    if (image.empty()) expect(false, "no module " + folder + "/" + file);
    else expect_code(cuModuleLoadData(&module, image.data()), 0, "loading " + file);
    return module;
}

struct Modules
{
    void *fast = load("planted_bugs.so"), *checked = load("planted_bugs.checked.so");
};

Modules& modules()
{
    static Modules instance;
    return instance;
}

struct Outcome
{
    int code;
    std::string detail;
    std::vector<float> out;
};

// Runs kernel(out, in) as one block of 256 threads.
Outcome run(void* module, const std::string& kernel)
{
    std::vector<float> in(N), out(N);
    for (int i = 0; i < N; i++) in[i] = static_cast<float>(i + 1);
    uint64_t device_in, device_out;
    cuMemAlloc_v2(&device_in, N * 4);
    cuMemAlloc_v2(&device_out, N * 4);
    cuMemcpyHtoDAsync_v2(device_in, in.data(), N * 4, nullptr);
    void *function = nullptr, *parameters[] = {&device_out, &device_in};
    expect_code(cuModuleGetFunction(&function, module, kernel.c_str()), 0, "finding " + kernel);
    Outcome outcome;
    outcome.code = cuLaunchKernel(function, 1, 1, 1, N, 1, 1, 0, nullptr, parameters, nullptr);
    outcome.detail = detail();
    if (outcome.code == 0) cuMemcpyDtoHAsync_v2(out.data(), device_out, N * 4, nullptr);
    outcome.out = out;
    if (outcome.code != 0)
    {
        // As on a GPU, a fault stays.
        expect(cuStreamSynchronize(nullptr) == outcome.code || outcome.code < 700, kernel + ": the fault did not stay");
        cuDevicePrimaryCtxReset_v2(0);
    }
    else
    {
        cuMemFree_v2(device_in);
        cuMemFree_v2(device_out);
    }
    return outcome;
}

using Expected = std::function<float(int)>;

bool is_right(const Outcome& outcome, const Expected& expected)
{
    if (outcome.code != 0) return false;
    for (int t = 0; t < N; t++)
        if (!(outcome.out[t] == expected(t))) return false;
    return true;
}

// Four orders of the fast module: how many accept?
int accepted(const std::string& kernel, const Expected& expected, std::string& said)
{
    int count = 0;
    for (int order = 0; order < 2; order++)
        for (int copies = 0; copies < 2; copies++)
        {
            kceConfigure(order, copies);
            Outcome outcome = run(modules().fast, kernel);
            if (outcome.code != 0) said = outcome.detail;
            count += is_right(outcome, expected);
        }
    kceConfigure(0, 1);
    return count;
}

// A bug and its twin. `fast` and `checked`: whether that mode must reject; `message` is part of what checked mode (or
// fast mode, where only that one rejects) must say.
void planted(const std::string& bug, const Expected& expected, bool fast, bool checked, const std::string& message,
             const std::string& line = "", std::string twin_of = "")
{
    const std::string fixed = (twin_of.empty() ? bug : twin_of) + "_fixed";
    std::string said;
    int right = accepted(bug, expected, said);
    if (fast) expect(right < 4, bug + ": fast mode accepted it in all four orders");
    if (checked)
    {
        Outcome outcome = run(modules().checked, bug);
        expect(!is_right(outcome, expected), bug + ": checked mode accepted it");
        said = outcome.detail;
    }
    expect(said.find(message) != std::string::npos, bug + ": said '" + said + "', expected '" + message + "'");
    expect(said.find("planted_bugs.cu:" + line) != std::string::npos || line == "-", bug + ": no source line in '" + said + "'");

    right = accepted(fixed, expected, said);
    expect(right == 4, fixed + ": accepted in " + std::to_string(right) + " of four orders; " + said);
    Outcome twin = run(modules().checked, fixed);
    expect(is_right(twin, expected), fixed + ": checked mode rejected it: " + twin.detail);
}

const Expected same = [](int t) { return t + 1.0f; };
const Expected reversed = [](int t) { return static_cast<float>(N - t); };

// Accumulator 0 of thread t: its line by line 2 (t % 4), which is turned by as many times four numbers.
float product_by_wgmma(int t)
{
    int sum = 0;
    for (int i = 0; i < 32; i++) sum += (i + 1) * ((i + 8 * (t % 4)) % 32 + 1);
    return static_cast<float>(sum);
}

void wgmma(const std::string& bug, const std::string& message, bool located = true, bool fast = true, const std::string& fixed = "wgmma")
{
    planted("wgmma_" + bug, product_by_wgmma, fast, true, message, located ? "" : "-", fixed);
}

// Launches kernel(out, in) of the fast module with a given shape; the output has `count` floats.
int launch(const char* kernel, unsigned block, unsigned shared, std::vector<float>* result = nullptr)
{
    std::vector<float> in(N);
    for (int i = 0; i < N; i++) in[i] = static_cast<float>(i + 1);
    uint64_t device_in, device_out;
    cuMemAlloc_v2(&device_in, N * 4);
    cuMemAlloc_v2(&device_out, N * 4);
    cuMemcpyHtoDAsync_v2(device_in, in.data(), N * 4, nullptr);
    void *function = nullptr, *parameters[] = {&device_out, &device_in};
    cuModuleGetFunction(&function, modules().fast, kernel);
    int code = cuLaunchKernel(function, 1, 1, 1, block, 1, 1, shared, nullptr, parameters, nullptr);
    if (result)
    {
        result->resize(N);
        cuMemcpyDtoHAsync_v2(result->data(), device_out, N * 4, nullptr);
    }
    cuMemFree_v2(device_in);
    cuMemFree_v2(device_out);
    return code;
}

void test_launch_errors()
{
    void* function = nullptr;
    expect_code(cuModuleGetFunction(&function, modules().fast, "no_such_kernel"), 500, "an unknown kernel");
    expect(detail().find("no_such_kernel") != std::string::npos, "the unknown kernel's name is missing: " + detail());
    expect_code(launch("bounded", 64, 0), 0, "a block as large as its launch bounds");
    expect_code(launch("bounded", 65, 0), 1, "a block larger than its launch bounds");
    expect_code(launch("bounded", 0, 0), 1, "an empty block");
    expect_code(launch("dynamic_shared", 256, 256 * 4), 0, "enough dynamic shared memory");
    expect_code(launch("dynamic_shared", 256, (48 << 10) + 4), 1, "too much dynamic shared memory");
    cuModuleGetFunction(&function, modules().fast, "dynamic_shared");
    expect_code(cuFuncSetAttribute(function, 8, 200 << 10), 1, "an opt-in larger than the device's shared memory");
    expect_code(cuFuncSetAttribute(function, 8, 98 << 10), 0, "an opt-in to more shared memory");
    expect_code(launch("dynamic_shared", 256, (48 << 10) + 4), 0, "more shared memory after the opt-in");
    // One float too few: the last thread writes behind the array.
    expect_code(launch("dynamic_shared", 256, 255 * 4), 700, "a dynamic shared array that is too small");
    cuDevicePrimaryCtxReset_v2(0);

    char text[64] = "no image";
    void* module;
    expect_code(cuModuleLoadData(&module, text), 200, "an image that is none");
    expect_code(cuStreamSynchronize(text), 400, "an unknown stream");
}

void test_memory_errors()
{
    uint64_t p;
    std::vector<float> host(101);
    expect_code(cuMemAlloc_v2(&p, 400), 0, "allocating");
    expect_code(cuMemcpyDtoHAsync_v2(host.data(), p, 400, nullptr), 0, "reading all of it");
    expect(std::isnan(host[0]) && std::isnan(host[99]), "fresh memory is not NaN");
    expect_code(cuMemcpyHtoDAsync_v2(p, host.data(), 404, nullptr), 1, "writing past the end");
    expect_code(cuMemcpyDtoHAsync_v2(host.data(), p + 4, 400, nullptr), 1, "reading past the end");
    expect_code(cuMemsetD32Async(p, 0, 101, nullptr), 1, "filling past the end");
    expect_code(cuMemsetD32Async(p + 2, 0, 10, nullptr), 1, "filling a misaligned address");
    expect_code(cuMemFree_v2(p + 4), 1, "freeing an address inside");
    expect_code(cuMemFree_v2(p), 0, "freeing");
    expect_code(cuMemFree_v2(p), 1, "freeing twice");
    expect_code(cuMemcpyHtoDAsync_v2(p, host.data(), 4, nullptr), 1, "writing after the free");
    void* context;
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(nullptr);
    expect_code(cuMemAlloc_v2(&p, 400), 201, "allocating without a current context");
    cuCtxSetCurrent(context);
}

void test_parameters()
{
    void* function = nullptr;
    cuModuleGetFunction(&function, modules().fast, "mixed_parameters");
    const size_t offsets[] = {0, 8, 16, 24, 32, 40}, sizes[] = {8, 8, 4, 8, 4, 8};
    size_t offset, size;
    for (size_t i = 0; i < 6; i++)
    {
        expect_code(cuFuncGetParamInfo(function, i, &offset, &size), 0, "a parameter's size");
        expect(offset == offsets[i] && size == sizes[i], "parameter " + std::to_string(i) + " is at " + std::to_string(offset) +
                                                             " and has " + std::to_string(size) + " bytes");
    }
    expect_code(cuFuncGetParamInfo(function, 6, &offset, &size), 1, "a parameter too many");

    uint64_t in, out;
    std::vector<float> host(20, 3.0f);
    cuMemAlloc_v2(&in, 80);
    cuMemAlloc_v2(&out, 80);
    cuMemcpyHtoDAsync_v2(in, host.data(), 80, nullptr);
    cuMemsetD32Async(out, 0, 20, nullptr);
    int count = 10;
    int64_t stride = 2;
    float scale = 4;
    double shift = 0.5;
    void* parameters[] = {&out, &in, &count, &stride, &scale, &shift};
    expect_code(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr), 0, "launching");
    cuMemcpyDtoHAsync_v2(host.data(), out, 80, nullptr);
    for (int i = 0; i < 20; i++) expect(host[i] == (i % 2 ? 0.0f : 12.5f), "element " + std::to_string(i) + " is wrong");
    cuMemFree_v2(in);
    cuMemFree_v2(out);
}

void test_collectives()
{
    for (void* module : {modules().fast, modules().checked})
        for (int order = 0; order < 2; order++)
        {
            kceConfigure(order, 1);
            Outcome outcome = run(module, "collectives");
            expect_code(outcome.code, 0, "collectives: " + outcome.detail);
            for (int t = 0; t < N; t++)
            {
                float half = 0;
                for (int i = t / 16 * 16; i < t / 16 * 16 + 16; i++) half += static_cast<float>(i + 1);
                float next = static_cast<float>(t / 32 * 32 + (t + 1) % 32 + 1);
                float expected = half + 1000.0f * static_cast<float>(t / 32 * 32 + 32) + next + N * (N + 1) / 2;
                expect(outcome.out[t] == expected, "thread " + std::to_string(t) + " got a wrong sum");
            }
        }
    kceConfigure(0, 1);
}

void test_grid()
{
    const unsigned blocks = 3 * 4 * 5, threads = 2 * 3 * 7;
    uint64_t out, in = 0;
    std::vector<float> host(blocks * threads);
    void *function = nullptr, *parameters[] = {&out, &in};
    cuModuleGetFunction(&function, modules().checked, "coordinates");
    for (int order = 0; order < 2; order++)
    {
        kceConfigure(order, 1);
        cuMemAlloc_v2(&out, host.size() * 4);
        expect_code(cuLaunchKernel(function, 3, 4, 5, 2, 3, 7, 0, nullptr, parameters, nullptr), 0, "launching");
        cuMemcpyDtoHAsync_v2(host.data(), out, host.size() * 4, nullptr);
        for (unsigned i = 0; i < host.size(); i++)
            expect(host[i] == static_cast<float>(i / threads * 1000 + i % threads), "element " + std::to_string(i) + " is wrong");
        cuMemFree_v2(out);
    }
    kceConfigure(0, 1);
}

// A staging buffer is written to again before, and after, the copy from it was waited for.
void test_pinned_memory()
{
    float* staging = nullptr;
    void *event = nullptr, *other = nullptr;
    uint64_t out = 0;
    cuMemAlloc_v2(&out, 64);
    expect_code(cuMemHostAlloc(reinterpret_cast<void**>(&staging), 64, 0), 0, "pinning");
    cuEventCreate(&event, 2);
    cuEventCreate(&other, 2);
    expect_code(cuEventSynchronize(event), 0, "an event never recorded");
    for (int i = 0; i < 16; i++) staging[i] = static_cast<float>(i);
    cuMemcpyHtoDAsync_v2(out, staging, 64, nullptr);
    cuEventRecord(event, nullptr);
    expect_code(cuEventSynchronize(event), 0, "waiting for the copy");
    staging[3] = 99;
    expect_code(cuStreamSynchronize(nullptr), 0, "written to after the wait");

    cuEventRecord(other, nullptr);
    cuMemcpyHtoDAsync_v2(out, staging, 64, nullptr);
    staging[3] = 98;
    expect_code(cuEventSynchronize(other), 0, "an event before the copy");
    expect_code(cuStreamSynchronize(nullptr), 700, "written to before the wait");
    expect_code(cuStreamSynchronize(nullptr), 0, "reported once");
    expect_code(cuMemFreeHost(staging), 0, "freeing");
    expect_code(cuMemFreeHost(staging), 1, "freeing twice");
    cuEventDestroy_v2(other);
    expect_code(cuEventDestroy_v2(event), 0, "destroying");
    expect_code(cuEventRecord(event, nullptr), 400, "an event that is gone");
    cuMemFree_v2(out);
}

struct Test
{
    const char* name;
    std::function<void()> body;
};

const Test tests[] = {
    {"missing_syncthreads", [] { planted("missing_syncthreads", reversed, true, true, "nobody wrote"); }},
    {"buffer_reuse", [] { planted("buffer_reuse", [](int t) { return 3.0f * (N - t); }, true, true, "no barrier between"); }},
    {"double_buffer_tail", [] { planted("double_buffer_tail", [](int t) { return 10.0f * (N - t); }, true, true, "no barrier between"); }},
    {"missing_syncwarp", [] { planted("missing_syncwarp", [](int t) { return (t ^ 1) + 1.0f; }, false, true, "no barrier between"); }},
    {"missing_cp_async_wait", [] { planted("missing_cp_async_wait", reversed, true, true, "shared memory"); }},
    {"cp_async_too_early", [] { planted("cp_async_too_early", reversed, true, true, "no barrier between"); }},
    {"cp_async_never_waited", [] { planted("cp_async_never_waited", same, true, true, "never waited for"); }},
    {"shared_write_out_of_bounds", [] { planted("shared_write_out_of_bounds", same, true, true, "outside of every array"); }},
    {"shared_read_out_of_bounds", [] { planted("shared_read_out_of_bounds", same, false, true, "outside of every array"); }},
    {"device_write_out_of_bounds", [] { planted("device_write_out_of_bounds", same, true, true, "past the end of an allocation of 1024 bytes"); }},
    {"device_read_out_of_bounds", [] { planted("device_read_out_of_bounds", same, false, true, "past the end of an allocation of 1024 bytes"); }},
    {"uninitialised_shared", [] { planted("uninitialised_shared", same, true, true, "nobody wrote"); }},
    {"uninitialised_device", [] { planted("uninitialised_device", same, true, true, "nobody wrote"); }},
    {"divergent_barrier", [] { planted("divergent_barrier", same, true, true, "divergent __syncthreads"); }},
    {"lane_missing", [] { planted("lane_missing", same, true, true, "never come"); }},
    {"wgmma_no_proxy_fence", [] { wgmma("no_proxy_fence", "with no fence_proxy_async after it"); }},
    {"wgmma_proxy_fence_late", [] { wgmma("proxy_fence_late", "with no barrier between its fence_proxy_async and the wgmma"); }},
    {"wgmma_no_fence", [] { wgmma("no_fence", "no wgmma_fence has handed over"); }},
    {"wgmma_no_commit", [] { wgmma("no_commit", "never waited for"); }},
    {"wgmma_no_wait", [] { wgmma("no_wait", "never waited for"); }},
    {"wgmma_read_early", [] { wgmma("read_early", "", false); }},
    {"wgmma_write_early", [] { wgmma("write_early", "has written to accumulators"); }},
    {"wgmma_misaligned", [] { wgmma("misaligned", "not a multiple of 16 bytes"); }},
    {"wgmma_pattern", [] { wgmma("pattern", "do not begin at a multiple of 1024"); }},
    {"wgmma_lanes", [] { wgmma("lanes", "never come"); }},
    {"wgmma_descriptors", [] { wgmma("descriptors", "different descriptors"); }},
    {"wgmma_refilled", [] { wgmma("refilled", "copies to shared memory that a wgmma, not waited for, reads"); }},
    {"wgmma_registers_no_fence", [] { wgmma("registers_no_fence", "reads registers of thread 0 that no wgmma_fence has handed over", true, true, "wgmma_registers"); }},
    {"wgmma_registers_read_early", [] { wgmma("registers_read_early", "", false, true, "wgmma_registers"); }},
    {"wgmma_registers_write_early", [] { wgmma("registers_write_early", "has written to registers", true, true, "wgmma_registers"); }},
    {"wgmma_registers_wrong_group", [] { wgmma("registers_wrong_group", "has written to registers", true, true, "wgmma_registers"); }},
    {"wgmma_unwritten", [] { wgmma("unwritten", "nobody wrote", true, false); }},
    {"stack_overflow", [] { planted("stack_overflow", same, true, false, "bytes of stack", "-"); }},
    {"endless_loop", [] { planted("endless_loop", same, true, true, "does not end"); }},
    {"endless_barriers", [] { planted("endless_barriers", same, true, true, "does not end"); }},
    {"endless_collectives", [] { planted("endless_collectives", same, true, true, "does not end"); }},
    {"too_much_static_shared", [] { planted("too_much_static_shared", same, true, true, "more than 49152"); }},
    {"launch_errors", test_launch_errors},
    {"memory_errors", test_memory_errors},
    {"pinned_memory", test_pinned_memory},
    {"parameters", test_parameters},
    {"collectives", test_collectives},
    {"grid", test_grid},
};
}

int main(int argc, char** argv)
{
    if (argc < 2) return std::printf("usage: emulator_tests <folder of the modules> [test]\n"), 2;
    folder = argv[1];
    setenv("KERNELCONTRAST_EMULATOR_WATCHDOG", "0.3", 0); // the largest test needs a hundredth of it
    void* context = nullptr;
    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context)) return std::printf("no device\n"), 2;
    int ran = 0, failed = 0;
    for (const Test& test : tests)
    {
        if (argc > 2 && std::strcmp(argv[2], test.name) != 0) continue;
        failures = 0;
        test.body();
        ran++;
        failed += failures != 0;
        std::printf("%s %s\n", failures ? "FAILED" : "passed", test.name);
    }
    std::printf("%d passed, %d failed\n", ran - failed, failed);
    return ran == 0 || failed != 0;
}
