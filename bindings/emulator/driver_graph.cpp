// Driver API: graphs. Refused unless kceRecordGraphs allows them, for a test of the caller's logic: then a stream that
// captures keeps its launches, copies and fills as they were issued, and a graph's launch runs them in that order. One
// stream at a time, no forks.
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "driver.h"

using namespace kce;

namespace
{
struct Graph
{
    std::vector<std::function<Result()>> work;
};

std::atomic<bool> allowed{false};
std::mutex guard;
std::atomic<void*> recording_stream{nullptr};
std::unique_ptr<Graph> recording;
std::set<void*> graphs, executables;

template <typename T> T* find(const std::set<void*>& known, void* handle) { return known.count(handle) ? static_cast<T*>(handle) : nullptr; }
}

namespace kce
{
bool is_capturing(void* stream) { return stream && recording_stream == stream; }

Result capture(std::function<Result()> work)
{
    std::lock_guard lock(guard);
    recording->work.push_back(std::move(work));
    return Success;
}

Result refuse_while_capturing(void* stream, const char* call)
{
    return is_capturing(stream) ? error(CaptureUnsupported, std::string(call) + " of a stream that captures") : Success;
}
}

KCE_API kceRecordGraphs(int allow)
{
    allowed = allow != 0;
    return Success;
}

KCE_API cuStreamBeginCapture_v2(void* stream, int mode)
{
    if (Result r = ready()) return r;
    if (!allowed) return error(NotSupported, "the emulated driver makes no graphs");
    if (mode < 0 || mode > 2) return error(InvalidValue, "cuStreamBeginCapture with mode " + std::to_string(mode));
    if (!stream || !is_stream(stream)) return error(CaptureUnsupported, "cuStreamBeginCapture of the default stream or an unknown one");
    std::lock_guard lock(guard);
    if (recording) return error(IllegalState, "cuStreamBeginCapture while a stream captures");
    recording = std::make_unique<Graph>();
    recording_stream = stream;
    return Success;
}

KCE_API cuStreamEndCapture(void* stream, void** graph)
{
    if (Result r = ready()) return r;
    std::lock_guard lock(guard);
    if (!recording || recording_stream != stream) return error(IllegalState, "cuStreamEndCapture of a stream that does not capture");
    recording_stream = nullptr;
    graphs.insert(*graph = recording.release());
    return Success;
}

KCE_API cuGraphGetNodes(void* graph, void** nodes, size_t* count)
{
    std::lock_guard lock(guard);
    auto* found = find<Graph>(graphs, graph);
    if (!found) return error(InvalidHandle, "cuGraphGetNodes of an unknown graph");
    if (nodes) return error(NotSupported, "the emulated driver only counts nodes");
    *count = found->work.size();
    return Success;
}

KCE_API cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags)
{
    if (Result r = ready()) return r;
    if (flags != 0) return error(NotSupported, "cuGraphInstantiateWithFlags with flags");
    std::lock_guard lock(guard);
    auto* found = find<Graph>(graphs, graph);
    if (!found) return error(InvalidHandle, "cuGraphInstantiate of an unknown graph");
    executables.insert(*executable = new Graph(*found));
    return Success;
}

KCE_API cuGraphLaunch(void* executable, void* stream)
{
    if (Result r = ready()) return r;
    if (!is_stream(stream)) return error(InvalidHandle, "cuGraphLaunch on an unknown stream");
    if (Result r = refuse_while_capturing(stream, "cuGraphLaunch")) return r;
    Graph* found;
    {
        std::lock_guard lock(guard);
        found = find<Graph>(executables, executable);
    }
    if (!found) return error(InvalidHandle, "cuGraphLaunch of an unknown graph");
    for (auto& work : found->work)
        if (Result r = work()) return r;
    return Success;
}

KCE_API cuGraphDestroy(void* graph)
{
    std::lock_guard lock(guard);
    if (graphs.erase(graph) == 0) return error(InvalidHandle, "cuGraphDestroy of an unknown graph");
    delete static_cast<Graph*>(graph);
    return Success;
}

KCE_API cuGraphExecDestroy(void* executable)
{
    std::lock_guard lock(guard);
    if (executables.erase(executable) == 0) return error(InvalidHandle, "cuGraphExecDestroy of an unknown graph");
    delete static_cast<Graph*>(executable);
    return Success;
}
