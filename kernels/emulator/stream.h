// Streams: work in the order it was submitted, run at once, later, or recorded into a graph.
#pragma once
#include <functional>
#include <mutex>
#include <vector>

#include "common.h"

namespace emulator {

using Work = std::function<Result()>;

// What a stream has recorded, and what a graph runs.
struct Graph {
    std::vector<Work> work;
};

// Held by its handle and by queued work that will record it.
struct Event {
    double seconds = 0;
    int pending = 0;        // recordings that are still queued
    bool captured = false;  // recorded into a graph: cannot be asked about
};

// The whole driver is one machine with one lock.
extern std::recursive_mutex lock;

// Runs, queues (COPLA_EMULATOR_LAZY=1) or records the work, as the stream stands. Null is the
// default stream. Also what the emulated cuBLAS calls.
EMULATOR_API Result submit(void* stream, Work work);

// Runs what was queued. Everything that waits for the card on a real one calls it.
Result finish_queue();
// One piece of queued work; false if there is none.
bool run_one();

// Refuses what may not happen while a stream records, and spoils the recording as CUDA does.
Result refuse_in_capture();
bool is_capturing(void* stream);
Result begin_capture(void* stream, int mode);
Result end_capture(void* stream, Graph** graph);

// A fault is the context's until it is cleared: every later call returns it.
extern Result sticky;

}  // namespace emulator
