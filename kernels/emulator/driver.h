// What the files of the emulated CUDA driver share (driver_*.cpp). Their functions are NVIDIA's, by
// name, arguments and results: "CUDA Driver API" of the CUDA documentation.
#pragma once
#include <mutex>

#include "memory.h"
#include "stream.h"

namespace emulator {

// The current context of this thread, and of the host's thread the order of those of its kernels.
extern thread_local void* current_context;

// Begins every call that needs a context: takes the lock and says why the call must fail at once.
class Call {
public:
    Call() : guard(lock), result(!current_context ? INVALID_CONTEXT : sticky) {}
    explicit operator bool() const { return result == SUCCESS; }
    // As the call's own result.
    const std::lock_guard<std::recursive_mutex> guard;
    const Result result;
};

// Compute capability of the card that is played, 10 × major + minor: COPLA_EMULATOR_SM.
EMULATOR_API int capability();

const std::string& last_error();

}  // namespace emulator
