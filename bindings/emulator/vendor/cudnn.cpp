// The entry points of cuDNN 8 and 9 that the library uses, in plain C++ on the emulated driver's memory, for tests of how
// they are called. It offers what a GPU offers: an algorithm it does not support, one that adds in another order each
// time, and one that is deterministic and wants a workspace. As on a GPU of today, float32 is multiplied in TF32 unless
// CUDNN_FMA_MATH says otherwise. What we do not use, and what NVIDIA's library would read or write amiss, it refuses.
#include <algorithm>
#include <vector>

#include "vendor.h"

namespace
{
enum Status
{
    Success = 0,
    NotInitialized = 1001,
    BadParam = 2000,
    NotSupported = 3000,
};

enum DataType
{
    Float = 0,
    BFloat16 = 9,
};

enum Math
{
    FmaMath = 3,
};

constexpr int Nhwc = 1, CrossCorrelation = 1;
constexpr uint32_t HandleKind = 0x64e40001, TensorKind = 0x64e40002, FilterKind = 0x64e40003, ConvolutionKind = 0x64e40004;

struct Object
{
    uint32_t kind;
};

struct Handle : Object
{
    void* stream = nullptr;
    bool has_stream = false;
};

// Of tensors and filters: [n, c, h, w], channels innermost.
struct Array : Object
{
    int type = -1;
    int64_t n = 0, c = 0, h = 0, w = 0;

    int64_t count() const { return n * c * h * w; }
    int vendor_type() const { return type == Float ? vendor::Real32 : vendor::RealBf16; }
    size_t bytes() const { return count() * vendor::size_of(vendor_type()); }
};

struct Convolution : Object
{
    bool set = false;
    int64_t pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0;
    int math = 0;
};

// cudnnConvolutionFwdAlgoPerf_t and its likes
struct Perf
{
    int algo, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};
static_assert(sizeof(Perf) == 48);

enum Pass
{
    Forward,
    BackwardData,
    BackwardFilter,
};

// The deterministic algorithm of a pass that wants a workspace, and the one that is not deterministic (-1: none).
constexpr int Deterministic[] = {1, 1, 1}, Hasty[] = {-1, 0, 0};

int bad(const std::string& detail) { return vendor::refuse(BadParam, detail); }

template <class T> T* as(void* object, uint32_t kind)
{
    auto* base = static_cast<Object*>(object);
    return base != nullptr && base->kind == kind ? static_cast<T*>(base) : nullptr;
}

template <class T> int create(void** to, uint32_t kind)
{
    if (to == nullptr) return bad("no place for what is created");
    *to = new T{{kind}};
    return Success;
}

template <class T> int destroy(void* object, uint32_t kind)
{
    T* mine = as<T>(object, kind);
    if (mine == nullptr) return bad("destroyed what is not of that kind");
    mine->kind = 0;
    delete mine;
    return Success;
}

int set_array(Array* array, int format, int type, int n, int c, int h, int w)
{
    if (array == nullptr) return bad("the descriptor is none");
    if (format != Nhwc) return vendor::refuse(NotSupported, "format " + std::to_string(format) + ": ours is NHWC (1)");
    if (type != Float && type != BFloat16) return vendor::refuse(NotSupported, "data type " + std::to_string(type));
    if (n < 1 || c < 1 || h < 1 || w < 1) return bad("a size is less than 1");
    *array = {{array->kind}, type, n, c, h, w};
    return Success;
}

struct Problem
{
    Array x, w, y;
    Convolution conv;
};

std::string text(const Array& a) { return std::to_string(a.n) + "x" + std::to_string(a.c) + "x" + std::to_string(a.h) + "x" + std::to_string(a.w); }

int read(Problem& p, void* handle, void* x, void* w, void* conv, void* y)
{
    Handle* the = as<Handle>(handle, HandleKind);
    if (the == nullptr) return bad("the handle is none");
    if (!the->has_stream) return bad("the handle has no stream: work would go to the default one");
    Array *ax = as<Array>(x, TensorKind), *aw = as<Array>(w, FilterKind), *ay = as<Array>(y, TensorKind);
    Convolution* c = as<Convolution>(conv, ConvolutionKind);
    if (ax == nullptr || aw == nullptr || ay == nullptr || c == nullptr) return bad("a descriptor is none, or of another kind");
    if (ax->count() == 0 || aw->count() == 0 || ay->count() == 0 || !c->set) return bad("a descriptor was not set");
    p = {*ax, *aw, *ay, *c};
    if (p.x.type != p.w.type || p.x.type != p.y.type) return vendor::refuse(NotSupported, "x, w and y are of different types");
    if (p.x.c != p.w.c) return bad("x has " + std::to_string(p.x.c) + " channels, w " + std::to_string(p.w.c));
    const int64_t h = (p.x.h + 2 * p.conv.pad_h - p.w.h) / p.conv.stride_h + 1, width = (p.x.w + 2 * p.conv.pad_w - p.w.w) / p.conv.stride_w + 1;
    if (p.y.n != p.x.n || p.y.c != p.w.n || p.y.h != h || p.y.w != width)
        return bad("y is " + text(p.y) + ", the convolution " + std::to_string(p.x.n) + "x" + std::to_string(p.w.n) + "x" + std::to_string(h) + "x" + std::to_string(width));
    return Success;
}

const Array& output(const Problem& p, Pass pass) { return pass == Forward ? p.y : pass == BackwardData ? p.x : p.w; }

int workspace_of(const Problem& p, Pass pass, int algo, size_t* bytes)
{
    if (algo == Deterministic[pass]) *bytes = output(p, pass).count() * sizeof(float);
    else if (algo == Hasty[pass]) *bytes = 0;
    else return vendor::refuse(NotSupported, "algorithm " + std::to_string(algo));
    return Success;
}

int choose(const Problem& p, Pass pass, int requested, int* returned, Perf* results)
{
    if (requested < 1 || returned == nullptr || results == nullptr) return bad("no algorithm was asked for");
    std::vector<Perf> all;
    all.push_back({5, NotSupported, -1, 0, 0, 0, {}});
    if (Hasty[pass] >= 0) all.push_back({Hasty[pass], Success, 1, 0, 0, p.conv.math, {}});
    Perf good = {Deterministic[pass], Success, 2, 0, 1, p.conv.math, {}};
    workspace_of(p, pass, good.algo, &good.memory);
    all.push_back(good);
    *returned = std::min<int>(requested, static_cast<int>(all.size()));
    std::copy(all.begin(), all.begin() + *returned, results);
    return Success;
}

int run(void* handle, const Problem& p, Pass pass, const float* alpha, const float* beta, uint64_t x, uint64_t w, uint64_t y, int algo, uint64_t workspace, size_t workspace_bytes)
{
    if (kce::ready() != kce::Success) return vendor::refuse(NotInitialized, "no context is current");
    if (!kce::is_stream(as<Handle>(handle, HandleKind)->stream)) return bad("the handle's stream is unknown");
    if (alpha == nullptr || beta == nullptr || *beta != 0) return bad("alpha or beta is missing, or beta is not 0");
    size_t needed = 0;
    if (int status = workspace_of(p, pass, algo, &needed)) return status;
    const struct
    {
        const char* name;
        uint64_t address;
        const Array& array;
        Pass written;
    } arrays[] = {{"x", x, p.x, BackwardData}, {"w", w, p.w, BackwardFilter}, {"y", y, p.y, Forward}};
    const uint64_t to = pass == Forward ? y : pass == BackwardData ? x : w;
    for (const auto& a : arrays)
    {
        std::string problem = vendor::problem_of(a.name, a.address, a.array.bytes(), 16);
        if (!problem.empty()) return bad(problem);
        if (a.written != pass && vendor::overlap(a.address, a.array.bytes(), to, output(p, pass).bytes())) return bad(std::string("the result overlaps ") + a.name);
        if (needed != 0 && vendor::overlap(a.address, a.array.bytes(), workspace, needed)) return bad(std::string("the workspace overlaps ") + a.name);
    }
    if (workspace_bytes < needed) return bad("the workspace has " + std::to_string(workspace_bytes) + " bytes, the algorithm needs " + std::to_string(needed));
    if (needed != 0)
    {
        std::string problem = vendor::problem_of("the workspace", workspace, needed, 16);
        if (!problem.empty()) return bad(problem);
    }

    const bool tf32 = p.x.type == Float && p.conv.math != FmaMath;
    auto numbers = [tf32](uint64_t address, const Array& array) {
        std::vector<float> values(array.count());
        for (int64_t i = 0; i < array.count(); i++)
        {
            values[i] = vendor::load(reinterpret_cast<void*>(address), i, array.vendor_type());
            if (tf32) values[i] = vendor::to_tf32(values[i]);
        }
        return values;
    };
    std::vector<float> xs, ws, ys;
    if (pass != BackwardData) xs = numbers(x, p.x);
    if (pass != BackwardFilter) ws = numbers(w, p.w);
    if (pass != Forward) ys = numbers(y, p.y);
    std::vector<float> sums(output(p, pass).count());
    static int calls[3] = {};
    const bool turned = algo == Hasty[pass] && ++calls[pass] % 2 != 0;
    for (int64_t at = 0; at < p.y.n * p.y.h * p.y.w; at++)
    {
        const int64_t pixel = turned ? p.y.n * p.y.h * p.y.w - 1 - at : at, j = pixel % p.y.w, i = pixel / p.y.w % p.y.h, n = pixel / (p.y.w * p.y.h);
        for (int64_t k = 0; k < p.w.n; k++)
            for (int64_t r = 0; r < p.w.h; r++)
                for (int64_t s = 0; s < p.w.w; s++)
                {
                    const int64_t row = i * p.conv.stride_h + r - p.conv.pad_h, column = j * p.conv.stride_w + s - p.conv.pad_w;
                    if (row < 0 || row >= p.x.h || column < 0 || column >= p.x.w) continue;
                    const int64_t in_x = ((n * p.x.h + row) * p.x.w + column) * p.x.c, in_w = ((k * p.w.h + r) * p.w.w + s) * p.w.c, in_y = pixel * p.y.c + k;
                    for (int64_t c = 0; c < p.x.c; c++)
                    {
                        if (pass == Forward) sums[in_y] += xs[in_x + c] * ws[in_w + c];
                        else if (pass == BackwardData) sums[in_x + c] += ys[in_y] * ws[in_w + c];
                        else sums[in_w + c] += ys[in_y] * xs[in_x + c];
                    }
                }
    }
    if (needed != 0)
    {
        std::memcpy(reinterpret_cast<void*>(workspace), sums.data(), needed);
        kce::mark_written(workspace, needed);
    }
    for (int64_t i = 0; i < output(p, pass).count(); i++) vendor::store(reinterpret_cast<void*>(to), i, output(p, pass).vendor_type(), *alpha * sums[i]);
    kce::mark_written(to, output(p, pass).bytes());
    return Success;
}
}

extern "C"
{
size_t cudnnGetVersion() { return 90000; }

const char* cudnnGetErrorString(int status)
{
    switch (status)
    {
    case Success: return "CUDNN_STATUS_SUCCESS";
    case NotInitialized: return "CUDNN_STATUS_NOT_INITIALIZED";
    case BadParam: return "CUDNN_STATUS_BAD_PARAM";
    case NotSupported: return "CUDNN_STATUS_NOT_SUPPORTED";
    default: return "unknown status";
    }
}

int cudnnCreate(void** handle)
{
    if (kce::ready() != kce::Success) return vendor::refuse(NotInitialized, "no context is current");
    return create<Handle>(handle, HandleKind);
}

int cudnnDestroy(void* handle) { return destroy<Handle>(handle, HandleKind); }

int cudnnSetStream(void* handle, void* stream)
{
    Handle* mine = as<Handle>(handle, HandleKind);
    if (mine == nullptr) return bad("the handle is none");
    mine->stream = stream;
    mine->has_stream = true;
    return Success;
}

int cudnnCreateTensorDescriptor(void** desc) { return create<Array>(desc, TensorKind); }
int cudnnDestroyTensorDescriptor(void* desc) { return destroy<Array>(desc, TensorKind); }
int cudnnSetTensor4dDescriptor(void* desc, int format, int type, int n, int c, int h, int w) { return set_array(as<Array>(desc, TensorKind), format, type, n, c, h, w); }

int cudnnCreateFilterDescriptor(void** desc) { return create<Array>(desc, FilterKind); }
int cudnnDestroyFilterDescriptor(void* desc) { return destroy<Array>(desc, FilterKind); }
int cudnnSetFilter4dDescriptor(void* desc, int type, int format, int k, int c, int h, int w) { return set_array(as<Array>(desc, FilterKind), format, type, k, c, h, w); }

int cudnnCreateConvolutionDescriptor(void** desc) { return create<Convolution>(desc, ConvolutionKind); }
int cudnnDestroyConvolutionDescriptor(void* desc) { return destroy<Convolution>(desc, ConvolutionKind); }

int cudnnSetConvolution2dDescriptor(void* desc, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h, int dilation_w, int mode, int compute)
{
    Convolution* mine = as<Convolution>(desc, ConvolutionKind);
    if (mine == nullptr) return bad("the descriptor is none");
    if (pad_h < 0 || pad_w < 0 || stride_h < 1 || stride_w < 1) return bad("a padding is less than 0 or a stride less than 1");
    if (dilation_h != 1 || dilation_w != 1) return vendor::refuse(NotSupported, "dilations are 1 here");
    if (mode != CrossCorrelation) return vendor::refuse(NotSupported, "mode " + std::to_string(mode) + ": ours is cross-correlation (1)");
    if (compute != Float) return vendor::refuse(NotSupported, "sums are float32");
    *mine = {{ConvolutionKind}, true, pad_h, pad_w, stride_h, stride_w, 0};
    return Success;
}

int cudnnSetConvolutionMathType(void* desc, int math)
{
    Convolution* mine = as<Convolution>(desc, ConvolutionKind);
    if (mine == nullptr || math < 0 || math > 3) return bad("the descriptor is none, or the math type unknown");
    mine->math = math;
    return Success;
}

int cudnnGetConvolutionForwardAlgorithm_v7(void* handle, void* x, void* w, void* conv, void* y, int requested, int* returned, Perf* results)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return choose(p, Forward, requested, returned, results);
}

int cudnnGetConvolutionBackwardDataAlgorithm_v7(void* handle, void* w, void* y, void* conv, void* x, int requested, int* returned, Perf* results)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return choose(p, BackwardData, requested, returned, results);
}

int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void* handle, void* x, void* y, void* conv, void* w, int requested, int* returned, Perf* results)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return choose(p, BackwardFilter, requested, returned, results);
}

int cudnnGetConvolutionForwardWorkspaceSize(void* handle, void* x, void* w, void* conv, void* y, int algo, size_t* bytes)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return workspace_of(p, Forward, algo, bytes);
}

int cudnnGetConvolutionBackwardDataWorkspaceSize(void* handle, void* w, void* y, void* conv, void* x, int algo, size_t* bytes)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return workspace_of(p, BackwardData, algo, bytes);
}

int cudnnGetConvolutionBackwardFilterWorkspaceSize(void* handle, void* x, void* y, void* conv, void* w, int algo, size_t* bytes)
{
    Problem p;
    if (int status = read(p, handle, x, w, conv, y)) return status;
    return workspace_of(p, BackwardFilter, algo, bytes);
}

int cudnnConvolutionForward(void* handle, const float* alpha, void* x_desc, uint64_t x, void* w_desc, uint64_t w, void* conv, int algo, uint64_t workspace,
                            size_t workspace_bytes, const float* beta, void* y_desc, uint64_t y)
{
    Problem p;
    if (int status = read(p, handle, x_desc, w_desc, conv, y_desc)) return status;
    return run(handle, p, Forward, alpha, beta, x, w, y, algo, workspace, workspace_bytes);
}

int cudnnConvolutionBackwardData(void* handle, const float* alpha, void* w_desc, uint64_t w, void* y_desc, uint64_t y, void* conv, int algo, uint64_t workspace,
                                 size_t workspace_bytes, const float* beta, void* x_desc, uint64_t x)
{
    Problem p;
    if (int status = read(p, handle, x_desc, w_desc, conv, y_desc)) return status;
    return run(handle, p, BackwardData, alpha, beta, x, w, y, algo, workspace, workspace_bytes);
}

int cudnnConvolutionBackwardFilter(void* handle, const float* alpha, void* x_desc, uint64_t x, void* y_desc, uint64_t y, void* conv, int algo, uint64_t workspace,
                                   size_t workspace_bytes, const float* beta, void* w_desc, uint64_t w)
{
    Problem p;
    if (int status = read(p, handle, x_desc, w_desc, conv, y_desc)) return status;
    return run(handle, p, BackwardFilter, alpha, beta, x, w, y, algo, workspace, workspace_bytes);
}
}
