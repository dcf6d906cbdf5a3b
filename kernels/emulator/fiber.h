// Fibers: each thread of a block has its own stack, and one switch costs a few nanoseconds.
#pragma once
#include "common.h"

namespace emulator {

// More than any kernel keeps in local memory; only the pages that it touches exist.
constexpr size_t STACK_BYTES = 128 << 10;

struct Fiber {
    void* stack_pointer;
    char* stack;  // its lowest address; the first page cannot be touched

    bool owns(uintptr_t address) const {
        return address - reinterpret_cast<uintptr_t>(stack) < STACK_BYTES;
    }
};

// The lowest address of `count` stacks side by side, each with a page at its end that faults.
char* make_stacks(int count);

// Makes `fiber` begin with `entry`, which never returns. `colour` staggers the first addresses,
// lest all stacks fall into the same sets of the cache.
void prepare(Fiber& fiber, void (*entry)(), int colour);

// Saves the running fiber's stack pointer and goes on where `to` stopped.
extern "C" void emulator_switch(void** save, void* to);

}  // namespace emulator
