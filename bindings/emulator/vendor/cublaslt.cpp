// The entry points of cuBLASLt that the library uses, in plain C++ on the emulated driver's memory, for tests of how they
// are called. What NVIDIA's library would take and we do not use, it refuses; what NVIDIA's would read or write where it
// must not, it refuses too. An algorithm is good only for the problem, the alignment and the workspace it was chosen
// for. One that reduces in place adds in another order each time, as a GPU may.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "vendor.h"

namespace
{
enum Status
{
    Success = 0,
    NotInitialized = 1,
    InvalidValue = 7,
    ExecutionFailed = 13,
    NotSupported = 15,
};

enum ComputeType
{
    Compute32 = 68,
    Compute32Tf32 = 77,
};

enum Epilogue : uint32_t
{
    Relu = 2,
    Bias = 4,
};

constexpr uint32_t InPlace = 1, InWorkspace = 2;
constexpr int64_t DepthOfSplit = 256; // products of this depth and more are split, where that is allowed

struct Object
{
    uint32_t kind;
};

constexpr uint32_t HandleKind = 0x4c740001, DescKind = 0x4c740002, LayoutKind = 0x4c740003, PreferenceKind = 0x4c740004;

struct Handle : Object
{
};

struct Desc : Object
{
    int compute;
    int trans_a = 0, trans_b = 0;
    uint32_t epilogue = 1;
    uint64_t bias = 0;
};

struct Layout : Object
{
    int type;
    uint64_t rows, cols;
    int64_t ld;

    bool operator==(const Layout& o) const { return type == o.type && rows == o.rows && cols == o.cols && ld == o.ld; }
    size_t bytes() const { return ((cols - 1) * ld + rows) * vendor::size_of(type); }
};

struct Preference : Object
{
    uint64_t workspace = 0;
    uint32_t reductions = 7;
    std::array<uint32_t, 4> alignment = {256, 256, 256, 256};
};

// cublasLtMatmulAlgo_t
struct Algorithm
{
    uint64_t problem;
    uint64_t workspace;
    uint32_t reduction; // 0: a sum is one thread's
    std::array<uint32_t, 4> alignment;
    uint32_t bias_alignment, unused[6];
};
static_assert(sizeof(Algorithm) == 64);

struct Result
{
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Result) == 96);

template <class T> T* as(void* object, uint32_t kind)
{
    auto* base = static_cast<Object*>(object);
    return base != nullptr && base->kind == kind ? static_cast<T*>(base) : nullptr;
}

int bad(const std::string& detail) { return vendor::refuse(InvalidValue, detail); }

template <class T> int destroy(void* object, uint32_t kind, const char* what)
{
    T* mine = as<T>(object, kind);
    if (mine == nullptr) return bad(std::string("destroyed ") + what + " that is none");
    mine->kind = 0;
    delete mine;
    return Success;
}

template <class T> int set(T& to, const void* value, size_t bytes, const char* what)
{
    if (value == nullptr || bytes != sizeof(T)) return bad(std::string(what) + " has " + std::to_string(sizeof(T)) + " bytes, not " + std::to_string(bytes));
    std::memcpy(&to, value, bytes);
    return Success;
}

struct Problem
{
    Desc desc;
    Layout a, b, c, d;
    int64_t rows() const { return d.rows; }
    int64_t columns() const { return d.cols; }
    int64_t depth() const { return desc.trans_a ? a.rows : a.cols; }
    // Everything but addresses.
    uint64_t hash() const
    {
        uint64_t h = 14695981039346656037u;
        auto add = [&](uint64_t v) { h = (h ^ v) * 1099511628211u; };
        for (uint64_t v : {uint64_t(desc.compute), uint64_t(desc.trans_a), uint64_t(desc.trans_b), uint64_t(desc.epilogue)}) add(v);
        for (const Layout* l : {&a, &b, &c, &d})
            for (uint64_t v : {uint64_t(l->type), l->rows, l->cols, uint64_t(l->ld)}) add(v);
        return h;
    }
};

int read(Problem& p, void* handle, void* desc, void* a, void* b, void* c, void* d)
{
    if (as<Handle>(handle, HandleKind) == nullptr) return bad("the handle is none");
    Desc* the = as<Desc>(desc, DescKind);
    if (the == nullptr) return bad("the description is none");
    void* layouts[] = {a, b, c, d};
    Layout* to[] = {&p.a, &p.b, &p.c, &p.d};
    for (int i = 0; i < 4; i++)
    {
        Layout* layout = as<Layout>(layouts[i], LayoutKind);
        if (layout == nullptr) return bad(std::string("the layout of ") + "ABCD"[i] + " is none");
        *to[i] = *layout;
    }
    p.desc = *the;
    for (int i = 0; i < 4; i++)
        if (to[i]->ld < static_cast<int64_t>(to[i]->rows))
            return bad(std::string("the leading dimension of ") + "ABCD"[i] + " is " + std::to_string(to[i]->ld) + ", less than its " + std::to_string(to[i]->rows) + " rows");
    const uint64_t rows = p.desc.trans_a ? p.a.cols : p.a.rows, depth = p.desc.trans_a ? p.a.rows : p.a.cols;
    const uint64_t depth_b = p.desc.trans_b ? p.b.cols : p.b.rows, columns = p.desc.trans_b ? p.b.rows : p.b.cols;
    if (depth != depth_b) return bad("op(A) has " + std::to_string(depth) + " columns, op(B) " + std::to_string(depth_b) + " rows");
    if (p.d.rows != rows || p.d.cols != columns)
        return bad("D is " + std::to_string(p.d.rows) + " by " + std::to_string(p.d.cols) + ", the product " + std::to_string(rows) + " by " + std::to_string(columns));
    if (rows == 0 || columns == 0 || depth == 0) return bad("a size is 0");
    if (!(p.c == p.d)) return bad("C and D have different layouts");
    if (p.a.type != p.b.type) return vendor::refuse(NotSupported, "A and B have different types");
    if (p.a.type == vendor::Real32 && p.d.type != vendor::Real32) return vendor::refuse(NotSupported, "float32 factors give float32");
    if (p.desc.compute == Compute32Tf32 && p.a.type != vendor::Real32) return vendor::refuse(NotSupported, "TF32 is a way to multiply float32");
    if ((p.desc.epilogue & Bias) != 0 && p.desc.bias == 0) return bad("the epilogue adds a bias, and there is no address of one");
    return Success;
}

uint32_t alignment_of(uint64_t address) { return address == 0 ? 256 : static_cast<uint32_t>(std::min<uint64_t>(address & (~address + 1), 256)); }
}

extern "C"
{
size_t cublasLtGetVersion() { return 120000; }

const char* cublasLtGetStatusName(int status)
{
    switch (status)
    {
    case Success: return "CUBLAS_STATUS_SUCCESS";
    case NotInitialized: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case InvalidValue: return "CUBLAS_STATUS_INVALID_VALUE";
    case ExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case NotSupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "unknown status";
    }
}

int cublasLtCreate(void** handle)
{
    if (kce::ready() != kce::Success) return vendor::refuse(NotInitialized, "cublasLtCreate: no context is current");
    *handle = new Handle{{HandleKind}};
    return Success;
}

int cublasLtDestroy(void* handle) { return destroy<Handle>(handle, HandleKind, "a handle"); }

int cublasLtMatmulDescCreate(void** desc, int compute, int scale)
{
    if (compute != Compute32 && compute != Compute32Tf32) return vendor::refuse(NotSupported, "compute type " + std::to_string(compute));
    if (scale != vendor::Real32) return vendor::refuse(NotSupported, "scales are float32, not of type " + std::to_string(scale));
    *desc = new Desc{{DescKind}, compute};
    return Success;
}

int cublasLtMatmulDescDestroy(void* desc) { return destroy<Desc>(desc, DescKind, "a description"); }

int cublasLtMatmulDescSetAttribute(void* object, int attribute, const void* value, size_t bytes)
{
    Desc* desc = as<Desc>(object, DescKind);
    if (desc == nullptr) return bad("the description is none");
    switch (attribute)
    {
    case 3:
    case 4:
    {
        int& trans = attribute == 3 ? desc->trans_a : desc->trans_b;
        if (int status = set(trans, value, bytes, "a transposition")) return status;
        return trans == 0 || trans == 1 ? Success : bad("transposition " + std::to_string(trans) + ": only N (0) and T (1) are used");
    }
    case 7:
        if (int status = set(desc->epilogue, value, bytes, "an epilogue")) return status;
        return desc->epilogue == 1 || desc->epilogue == Relu || desc->epilogue == Bias || desc->epilogue == (Relu | Bias) ? Success
            : vendor::refuse(NotSupported, "epilogue " + std::to_string(desc->epilogue));
    case 8: return set(desc->bias, value, bytes, "the bias's address");
    default: return vendor::refuse(NotSupported, "attribute " + std::to_string(attribute) + " of a description");
    }
}

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    if (type != vendor::Real32 && type != vendor::RealBf16) return vendor::refuse(NotSupported, "data type " + std::to_string(type));
    *layout = new Layout{{LayoutKind}, type, rows, cols, ld};
    return Success;
}

int cublasLtMatrixLayoutDestroy(void* layout) { return destroy<Layout>(layout, LayoutKind, "a layout"); }

int cublasLtMatmulPreferenceCreate(void** preference)
{
    *preference = new Preference{{PreferenceKind}};
    return Success;
}

int cublasLtMatmulPreferenceDestroy(void* preference) { return destroy<Preference>(preference, PreferenceKind, "preferences"); }

int cublasLtMatmulPreferenceSetAttribute(void* object, int attribute, const void* value, size_t bytes)
{
    Preference* preference = as<Preference>(object, PreferenceKind);
    if (preference == nullptr) return bad("the preferences are none");
    switch (attribute)
    {
    case 1: return set(preference->workspace, value, bytes, "the size of the workspace");
    case 3: return set(preference->reductions, value, bytes, "the mask of reductions");
    case 5:
    case 6:
    case 7:
    case 8: return set(preference->alignment[attribute - 5], value, bytes, "an alignment");
    default: return vendor::refuse(NotSupported, "preference " + std::to_string(attribute));
    }
}

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preferences, int requested, Result* results, int* found)
{
    *found = 0;
    Problem p;
    if (int status = read(p, handle, desc, a, b, c, d)) return status;
    Preference* preference = as<Preference>(preferences, PreferenceKind);
    if (preference == nullptr) return bad("the preferences are none");
    if (requested < 1 || results == nullptr) return bad("no algorithm was asked for");
    *results = {};
    Algorithm& algorithm = results->algorithm;
    algorithm.problem = p.hash();
    algorithm.alignment = preference->alignment;
    algorithm.bias_alignment = alignment_of(p.desc.bias);
    if (p.depth() >= DepthOfSplit)
    {
        const size_t parts = 2 * p.rows() * p.columns() * sizeof(float);
        if ((preference->reductions & InPlace) != 0) algorithm.reduction = InPlace;
        else if ((preference->reductions & InWorkspace) != 0 && parts <= preference->workspace)
        {
            algorithm.reduction = InWorkspace;
            algorithm.workspace = parts;
        }
    }
    results->workspace = algorithm.workspace;
    results->waves = 1;
    *found = 1;
    return Success;
}

int cublasLtMatmul(void* handle, void* desc, const float* alpha, uint64_t a, void* layout_a, uint64_t b, void* layout_b, const float* beta, uint64_t c, void* layout_c,
                   uint64_t d, void* layout_d, const Algorithm* algorithm, uint64_t workspace, size_t workspace_bytes, void* stream)
{
    if (kce::ready() != kce::Success) return vendor::refuse(NotInitialized, "cublasLtMatmul: no context is current");
    if (!kce::is_stream(stream)) return bad("cublasLtMatmul was given an unknown stream");
    Problem p;
    if (int status = read(p, handle, desc, layout_a, layout_b, layout_c, layout_d)) return status;
    if (alpha == nullptr || beta == nullptr) return bad("alpha or beta is missing");
    if (algorithm == nullptr) return bad("no algorithm: the library would choose one, and another at another time");
    if (algorithm->problem != p.hash()) return bad("the algorithm was chosen for another product");
    const struct
    {
        const char* name;
        uint64_t address;
        const Layout& layout;
        uint32_t promised;
    } matrices[] = {{"A", a, p.a, algorithm->alignment[0]}, {"B", b, p.b, algorithm->alignment[1]}, {"C", c, p.c, algorithm->alignment[2]}, {"D", d, p.d, algorithm->alignment[3]}};
    for (const auto& m : matrices)
    {
        if (m.promised == 0) return bad(std::string("an alignment of 0 was promised for ") + m.name);
        std::string problem = vendor::problem_of(m.name, m.address, m.layout.bytes(), std::max<size_t>(m.promised, vendor::size_of(m.layout.type)));
        if (!problem.empty()) return bad(problem);
    }
    for (int i = 0; i < 2; i++)
        if (vendor::overlap(d, p.d.bytes(), matrices[i].address, matrices[i].layout.bytes())) return bad(std::string("D overlaps ") + matrices[i].name);
    if (c != d && *beta != 0 && vendor::overlap(d, p.d.bytes(), c, p.c.bytes())) return bad("D overlaps C");
    const bool with_bias = (p.desc.epilogue & Bias) != 0, relu = (p.desc.epilogue & Relu) != 0;
    if (with_bias)
    {
        std::string problem = vendor::problem_of("the bias", p.desc.bias, p.rows() * vendor::size_of(p.d.type), std::max<size_t>(vendor::size_of(p.d.type), algorithm->bias_alignment));
        if (!problem.empty()) return bad(problem);
    }
    if (algorithm->workspace != 0)
    {
        if (workspace_bytes < algorithm->workspace) return bad("the workspace has " + std::to_string(workspace_bytes) + " bytes, the algorithm needs " + std::to_string(algorithm->workspace));
        std::string problem = vendor::problem_of("the workspace", workspace, algorithm->workspace, 16);
        if (!problem.empty()) return bad(problem);
        for (const auto& m : matrices)
            if (vendor::overlap(workspace, algorithm->workspace, m.address, m.layout.bytes())) return bad(std::string("the workspace overlaps ") + m.name);
    }

    const void *from_a = reinterpret_cast<void*>(a), *from_b = reinterpret_cast<void*>(b), *from_c = reinterpret_cast<void*>(c), *bias = reinterpret_cast<void*>(p.desc.bias);
    const bool tf32 = p.desc.compute == Compute32Tf32;
    auto number = [tf32](const void* data, int64_t i, int type) {
        float x = vendor::load(data, i, type);
        return tf32 ? vendor::to_tf32(x) : x;
    };
    static int calls = 0;
    const bool turned = algorithm->reduction == InPlace && ++calls % 2 != 0;
    const int64_t rows = p.rows(), columns = p.columns(), depth = p.depth(), half = algorithm->reduction != 0 ? depth / 2 : 0;
    auto* parts = reinterpret_cast<float*>(workspace);
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++)
        {
            auto sum = [&](int64_t from, int64_t to) {
                float s = 0;
                for (int64_t k = from; k < to; k++)
                    s += number(from_a, p.desc.trans_a ? i * p.a.ld + k : k * p.a.ld + i, p.a.type) * number(from_b, p.desc.trans_b ? k * p.b.ld + j : j * p.b.ld + k, p.b.type);
                return s;
            };
            float x;
            if (algorithm->reduction == InWorkspace)
            {
                float* mine = parts + 2 * (j * rows + i);
                mine[0] = sum(0, half);
                mine[1] = sum(half, depth);
                x = mine[0] + mine[1];
            }
            else if (turned)
            {
                x = 0;
                for (int64_t k = depth; k-- > 0;) x += sum(k, k + 1);
            }
            else x = sum(0, depth);
            x *= *alpha;
            if (*beta != 0) x += *beta * vendor::load(from_c, j * p.c.ld + i, p.c.type);
            if (with_bias) x += vendor::load(bias, i, p.d.type);
            if (relu) x = x > 0 || std::isnan(x) ? x : 0;
            vendor::store(reinterpret_cast<void*>(d), j * p.d.ld + i, p.d.type, x);
        }
    for (int64_t j = 0; j < columns; j++) kce::mark_written(d + j * p.d.ld * vendor::size_of(p.d.type), rows * vendor::size_of(p.d.type));
    if (algorithm->workspace != 0) kce::mark_written(workspace, algorithm->workspace);
    return Success;
}
}
