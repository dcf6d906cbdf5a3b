// The checker: is every access of a kernel inside an allocation, of something written, and ordered
// after whatever other threads did there?
//
// It sees accesses because g++ calls it before each (-fsanitize=thread, whose runtime this
// replaces). Time is one clock that ticks when a launch or a block starts, when a barrier is passed
// and when a warp synchronises; two accesses of different threads in one block are ordered if such
// a tick of both lies between them, and accesses of different blocks of a launch never are.
#pragma once
#include "block.h"
#include "memory.h"

namespace emulator {

// Of two bytes of memory: the smallest number that kernels store. A byte shares its neighbour's
// cell, so kernels that share bytes between threads would be wronged; there are none.
constexpr size_t CELL_BYTES = 2;

// Who accessed a cell, and when. The flags say that others did too in the same span of time, which
// `thread` would hide: other lanes of its warp, other warps of its block, other blocks.
struct Access {
    enum Kind {
        READ,
        WRITE,
        ATOMIC,
        PROBE  // a write that is not recorded
    };

    uint64_t time : 48;  // 0: never
    uint64_t thread : 10;
    uint64_t is_atomic : 1;
    uint64_t other_lanes : 1;
    uint64_t other_warps : 1;
    uint64_t other_blocks : 1;
};

struct Cell {
    Access write, read;
};

// Ends the launch with a message if the running thread must not do this.
void check_access(const void* address, size_t bytes, Access::Kind kind, Site at);

void checker_starts_launch();
void checker_starts_block();
void checker_passes_barrier();
void checker_synchronises(Warp& warp);

size_t cells_of(const Region& region);
void forget_cells(Region& region);

// The static shared variables and the constants of a kernel file that was loaded or unloaded.
void checker_knows(const void* owner, std::vector<Region> shared, uintptr_t begin, uintptr_t end);
void checker_forgets(const void* owner);

// Only if every kernel is instrumented can memory that none was seen to write be called unwritten.
extern bool all_kernels_checked;

}  // namespace emulator
