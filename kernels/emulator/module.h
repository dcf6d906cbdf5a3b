// A kernel file that was compiled (nvrtc.cpp) and loaded: a shared library held in memory.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "common.h"

namespace emulator {

struct Function {
    std::string name;
    Invoke invoke;
    std::vector<unsigned> sizes;  // of its arguments, in bytes
    int most_threads;             // its __launch_bounds__
    bool checked;
    unsigned most_dynamic_shared = 48 << 10;
};

struct Module {
    int file = -1;
    void* handle = nullptr;
    std::map<std::string, std::unique_ptr<Function>> functions;

    ~Module();
};

// Null, with a report, if the bytes are no library that nvrtc.cpp has made.
std::unique_ptr<Module> load_module(const void* image);

}  // namespace emulator
