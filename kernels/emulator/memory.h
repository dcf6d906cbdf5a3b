// The card's memory: a range of addresses of its own, cut into allocations.
#pragma once
#include <map>

#include "common.h"

namespace emulator {

// What the checker keeps of each two bytes of memory (checker.h).
struct Cell;

// A stretch of memory that is valid from `begin` to `end`, with its cells.
struct Region {
    uintptr_t begin = 0, end = 0;
    bool shared = false;
    std::string name;
    size_t room = 0;        // bytes that were allocated; `end` may say that fewer are lent
    Cell* cells = nullptr;  // made when first looked at
    // A bit for each cell of global memory that a copy, a fill or a library has written.
    unsigned char* written = nullptr;

    bool holds(uintptr_t address, size_t bytes) const {
        return address >= begin && address <= end && bytes <= end - address;
    }
};

class Memory {
public:
    // Fresh memory holds NaN in every float type, so that what reads it shows. 0: no room.
    uintptr_t allocate(size_t bytes);
    bool release(uintptr_t address);

    // Of the allocation that begins there, only so many bytes are valid from now on, and none are
    // written: what a program's own allocator gives out anew. `make_room` only lets more be valid.
    bool lend(uintptr_t address, size_t bytes);
    bool make_room(uintptr_t address, size_t bytes);

    // The allocation that the address lies in.
    Region* find(uintptr_t address) const;
    // Whether all of it lies in one allocation.
    bool holds(uintptr_t address, size_t bytes) const;
    // Tells the checker that not a kernel, but a copy or a library, has written this.
    void mark_written(uintptr_t address, size_t bytes);

    size_t total() const;
    size_t in_use() const { return used; }

private:
    void reserve();

    static constexpr size_t PAGE = 4096, PAGES = size_t{1} << 26;  // 256 GiB of addresses
    uintptr_t base = 0;
    Region** owner = nullptr;            // of each page
    std::map<size_t, size_t> free_runs;  // first page, number of pages
    size_t used = 0;
};
extern Memory memory;

// Memory that is nothing until it is touched. Null when the system has none.
void* map_lazily(size_t bytes);
void unmap(void* address, size_t bytes);

}  // namespace emulator
