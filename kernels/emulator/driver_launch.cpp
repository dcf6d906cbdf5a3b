// libcuda: modules and kernels, streams, events and graphs.
#include <chrono>
#include <cstring>
#include <memory>

#include "block.h"
#include "driver.h"
#include "module.h"

namespace emulator {

static thread_local bool order_is_set = false;
static thread_local Order order;

// Until a thread sets its own: COPLA_EMULATOR_ORDER (0, 1, 2) and COPLA_EMULATOR_SEED.
static Order current_order() {
    static const Order otherwise{
        static_cast<Order::Mode>(setting("COPLA_EMULATOR_ORDER", Order::FORWARD)),
        setting("COPLA_EMULATOR_SEED", 1)};
    return order_is_set ? order : otherwise;
}

// Arguments as they were at the launch: the caller's may be gone when the work is run.
struct Arguments {
    std::vector<std::vector<char>> values;

    Arguments(const Function& function, void** pointers) {
        for (size_t i = 0; i < function.sizes.size(); i++) {
            const char* value = static_cast<const char*>(pointers[i]);
            values.emplace_back(value, value + function.sizes[i]);
        }
    }
    std::vector<void*> pointers() {
        std::vector<void*> all;
        for (std::vector<char>& value : values) all.push_back(value.data());
        return all;
    }
};

static Result check_launch(const Function& function, Index grid, Index size,
                           unsigned shared_bytes) {
    constexpr unsigned MOST_ROWS = 65535, MOST_DEPTH = 64;
    std::string wrong;
    Result result = INVALID_VALUE;
    if (grid.count() == 0 || grid.x > 0x7fffffffu || grid.y > MOST_ROWS || grid.z > MOST_ROWS)
        wrong = format("a grid of (%u, %u, %u) blocks", grid.x, grid.y, grid.z);
    else if (size.count() == 0 || size.count() > MOST_THREADS || size.z > MOST_DEPTH)
        wrong = format("a block of (%u, %u, %u) threads", size.x, size.y, size.z);
    else if (size.count() > static_cast<uint64_t>(function.most_threads)) {
        wrong = format("a block of %zu threads, of which its __launch_bounds__ allow %d",
                       static_cast<size_t>(size.count()), function.most_threads);
        result = LAUNCH_OUT_OF_RESOURCES;
    } else if (shared_bytes > function.most_dynamic_shared)
        wrong = format("%u bytes of dynamic shared memory, of which %u are allowed", shared_bytes,
                       function.most_dynamic_shared);
    else return SUCCESS;
    report("kernel " + function.name + ": " + wrong);
    return result;
}

using EventHandle = std::shared_ptr<Event>;
static EventHandle event_of(void* handle) { return *static_cast<EventHandle*>(handle); }

static double seconds() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
}

}  // namespace emulator

using namespace emulator;

#pragma GCC visibility push(default)
extern "C" {

// ---- modules and kernels ---------------------------------------------------------------------

int cuModuleLoadData(void** module, const void* image) {
    const Call call;
    if (!call) return call.result;
    *module = load_module(image).release();
    return *module ? SUCCESS : INVALID_IMAGE;
}

int cuModuleUnload(void* module) {
    const Call call;
    if (call.result == INVALID_CONTEXT) return call.result;
    finish_queue();
    delete static_cast<Module*>(module);
    return SUCCESS;
}

int cuModuleGetFunction(void** function, void* module, const char* name) {
    const Call call;
    if (!call) return call.result;
    const auto& functions = static_cast<Module*>(module)->functions;
    const auto found = functions.find(name);
    if (found == functions.end()) return NOT_FOUND;
    *function = found->second.get();
    return SUCCESS;
}

int cuFuncGetAttribute(int* value, int which, void* function) {
    const Function& f = *static_cast<Function*>(function);
    constexpr int MAX_THREADS = 0, REGISTERS = 4, MAX_DYNAMIC_SHARED = 8;
    *value = which == MAX_THREADS          ? f.most_threads
             : which == REGISTERS          ? 32
             : which == MAX_DYNAMIC_SHARED ? static_cast<int>(f.most_dynamic_shared)
                                           : 0;
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int which, int device);

int cuFuncSetAttribute(void* function, int which, int value) {
    constexpr int MAX_DYNAMIC_SHARED = 8, OPT_IN_OF_DEVICE = 97;
    if (which != MAX_DYNAMIC_SHARED) return SUCCESS;
    int most;
    cuDeviceGetAttribute(&most, OPT_IN_OF_DEVICE, 0);
    if (value < 0 || value > most) return INVALID_VALUE;
    static_cast<Function*>(function)->most_dynamic_shared = static_cast<unsigned>(value);
    return SUCCESS;
}

int cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void* stream, void** arguments, void**) {
    const Call call;
    if (!call) return call.result;
    const Function& function = *static_cast<Function*>(handle);
    const Index grid{grid_x, grid_y, grid_z}, size{block_x, block_y, block_z};
    if (const Result refused = check_launch(function, grid, size, shared_bytes)) return refused;
    auto copies = std::make_shared<Arguments>(function, arguments);
    return submit(stream, [=, &function] {
        std::vector<void*> pointers = copies->pointers();
        const Launch launch{function.name.c_str(), function.invoke,  grid,           size,
                            shared_bytes,          function.checked, pointers.data()};
        return run(launch, current_order());
    });
}

// The order in which the kernels that this thread launches run their threads and blocks.
void copla_emulator_set_order(int mode, uint64_t seed) {
    order = {static_cast<Order::Mode>(mode), seed};
    order_is_set = true;
}

// ---- streams ---------------------------------------------------------------------------------

int cuStreamCreate(void** stream, unsigned) {
    const Call call;
    if (!call) return call.result;
    *stream = new char;
    return SUCCESS;
}

int cuStreamCreateWithPriority(void** stream, unsigned flags, int) {
    return cuStreamCreate(stream, flags);
}

int cuStreamDestroy_v2(void* stream) {
    const Call call;
    delete static_cast<char*>(stream);
    return call.result;
}

int cuStreamSynchronize(void* stream) {
    const Call call;
    if (!call) return call.result;
    if (is_capturing(stream))
        if (const Result refused = refuse_in_capture()) return refused;
    return finish_queue();
}

// One queue serves all streams, so what was submitted earlier is done earlier.
int cuStreamWaitEvent(void*, void*, unsigned) {
    const Call call;
    return call.result;
}

// ---- events ----------------------------------------------------------------------------------

int cuEventCreate(void** event, unsigned) {
    const Call call;
    if (!call) return call.result;
    *event = new EventHandle(std::make_shared<Event>());
    return SUCCESS;
}

int cuEventDestroy_v2(void* event) {
    const Call call;
    delete static_cast<EventHandle*>(event);
    return call.result;
}

int cuEventRecord(void* handle, void* stream) {
    const Call call;
    if (!call) return call.result;
    EventHandle event = event_of(handle);
    event->captured = is_capturing(stream);
    if (!event->captured) event->pending++;
    return submit(stream, [=] {
        event->seconds = seconds();
        if (event->pending) event->pending--;
        return SUCCESS;
    });
}

int cuEventSynchronize(void* event) {
    const Call call;
    if (!call) return call.result;
    return event_of(event)->captured ? CAPTURED_EVENT : finish_queue();
}

// The card works on while it is asked.
int cuEventQuery(void* event) {
    const Call call;
    if (!call) return call.result;
    if (event_of(event)->captured) return CAPTURED_EVENT;
    if (!event_of(event)->pending) return SUCCESS;
    run_one();
    return sticky ? sticky : NOT_READY;
}

int cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
    const Call call;
    if (!call) return call.result;
    const EventHandle first = event_of(begin), second = event_of(end);
    if (first->pending || second->pending) return NOT_READY;
    *milliseconds = static_cast<float>((second->seconds - first->seconds) * 1e3);
    return SUCCESS;
}
int cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
    return cuEventElapsedTime_v2(milliseconds, begin, end);
}

// ---- graphs ----------------------------------------------------------------------------------

int cuStreamBeginCapture_v2(void* stream, int mode) {
    const Call call;
    return call ? begin_capture(stream, mode) : call.result;
}

int cuStreamEndCapture(void* stream, void** graph) {
    const Call call;
    if (!call) return call.result;
    Graph* recorded;
    const Result result = end_capture(stream, &recorded);
    *graph = recorded;
    return result;
}

int cuStreamIsCapturing(void* stream, int* status) {
    const Call call;
    *status = is_capturing(stream);
    return call.result;
}

int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    const Call call;
    if (!call) return call.result;
    *executable = new Graph(*static_cast<Graph*>(graph));
    return SUCCESS;
}

int cuGraphUpload(void*, void*) { return SUCCESS; }

int cuGraphLaunch(void* executable, void* stream) {
    const Call call;
    if (!call) return call.result;
    for (const Work& work : static_cast<Graph*>(executable)->work)
        if (const Result result = submit(stream, work)) return result;
    return SUCCESS;
}

int cuGraphDestroy(void* graph) {
    delete static_cast<Graph*>(graph);
    return SUCCESS;
}
int cuGraphExecDestroy(void* executable) {
    delete static_cast<Graph*>(executable);
    return SUCCESS;
}
}
#pragma GCC visibility pop
