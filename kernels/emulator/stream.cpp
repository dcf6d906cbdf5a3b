// One queue for all streams: a program that forgets to order two streams is not found out here.
#include "stream.h"

#include <deque>
#include <thread>

namespace emulator {

std::recursive_mutex lock;
Result sticky = SUCCESS;

static std::deque<Work> queue;

// ---- captures --------------------------------------------------------------------------------

enum CaptureMode : int { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };

// One at a time: a second is refused.
struct Capture {
    void* stream;
    Graph* graph = nullptr;  // null: none under way
    CaptureMode mode;
    std::thread::id thread;
    bool spoiled;
};
static Capture capture;

bool is_capturing(void* stream) { return capture.graph && capture.stream == stream; }

Result begin_capture(void* stream, int mode) {
    if (capture.graph) return INVALID_VALUE;
    if (!stream) return CAPTURE_UNSUPPORTED;  // the legacy stream cannot be captured
    capture = {stream, new Graph, static_cast<CaptureMode>(mode), std::this_thread::get_id(),
               false};
    return SUCCESS;
}

Result end_capture(void* stream, Graph** graph) {
    *graph = nullptr;
    if (!is_capturing(stream)) return CAPTURE_UNMATCHED;
    Graph* recorded = capture.graph;
    capture.graph = nullptr;
    if (capture.spoiled) {
        delete recorded;
        return CAPTURE_INVALIDATED;
    }
    *graph = recorded;
    return SUCCESS;
}

Result refuse_in_capture() {
    if (!capture.graph || capture.mode == RELAXED) return SUCCESS;
    if (capture.mode == THREAD_LOCAL && capture.thread != std::this_thread::get_id())
        return SUCCESS;
    capture.spoiled = true;
    return CAPTURE_UNSUPPORTED;
}

// ---- work ------------------------------------------------------------------------------------

static Result run_now(const Work& work) {
    const Result result = work();
    if (result == LAUNCH_FAILED) sticky = result;
    return result;
}

Result submit(void* stream, Work work) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    static const bool lazy = setting("COPLA_EMULATOR_LAZY", 0) != 0;
    if (sticky) return sticky;
    if (is_capturing(stream)) {
        if (capture.spoiled) return CAPTURE_INVALIDATED;
        capture.graph->work.push_back(std::move(work));
        return SUCCESS;
    }
    if (!stream && capture.graph && capture.mode != RELAXED) {
        capture.spoiled = true;
        return CAPTURE_IMPLICIT;  // the legacy stream waits for the one that records
    }
    if (!lazy) return run_now(work);
    queue.push_back(std::move(work));
    return SUCCESS;
}

bool run_one() {
    if (queue.empty()) return false;
    const Work work = std::move(queue.front());
    queue.pop_front();
    if (!sticky) {
        const Result result = run_now(work);
        if (result && !sticky) sticky = result;  // no call is left to return it
    }
    return true;
}

Result finish_queue() {
    while (run_one()) {}
    return sticky;
}

}  // namespace emulator
