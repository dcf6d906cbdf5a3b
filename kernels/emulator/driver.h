// What the files of the emulated CUDA driver share (driver_*.cpp). Their functions are NVIDIA's, by
// name, arguments and results: "CUDA Driver API" of the CUDA documentation.
#pragma once
#include <mutex>

#include "memory.h"
#include "stream.h"

namespace emulator {

// Of the thread that calls.
extern thread_local void* current_context;

// Begins every call that needs a context: takes the lock and says why the call must fail at once.
class EMULATOR_API Call {
public:
    Call();
    explicit operator bool() const { return result == SUCCESS; }
    // As the call's own result.
    const std::lock_guard<std::recursive_mutex> guard;
    const Result result;
};

// Compute capability of the card that is played, 10 × major + minor: COPLA_EMULATOR_SM.
EMULATOR_API int capability();

const std::string& last_error();

// For the emulated cuBLAS, which works on the card's memory as kernels do.
EMULATOR_API bool current_context_is_set();
EMULATOR_API bool is_allocated(const void* address, size_t bytes);
EMULATOR_API void wrote(const void* address, size_t bytes);

}  // namespace emulator
