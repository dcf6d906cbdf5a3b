// Allocations begin on a page of their own and are followed by one that no one owns: a wrong
// address meets no neighbour, and the owner of an address is found in a table.
#include "memory.h"

#include <cstring>
#include <sys/mman.h>

#include "checker.h"

namespace emulator {

Memory memory;

void* map_lazily(size_t bytes) {
    void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

void unmap(void* address, size_t bytes) {
    if (address) munmap(address, bytes);
}

void Memory::reserve() {
    void* range =
        mmap(nullptr, PAGE * PAGES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    owner = static_cast<Region**>(map_lazily(PAGES * sizeof(Region*)));
    if (range == MAP_FAILED || !owner) return;
    base = reinterpret_cast<uintptr_t>(range);
    free_runs[0] = PAGES;
}

static void set_length(Region& region, size_t bytes) {
    region.end = region.begin + bytes;
    region.name = format("an allocation of %zu bytes", bytes);
}

size_t Memory::total() const { return setting("COPLA_EMULATOR_MEMORY", uint64_t{8} << 30); }

uintptr_t Memory::allocate(size_t bytes) {
    if (!base) reserve();
    if (!base || bytes > total() || used > total() - bytes) return 0;
    const size_t pages = (bytes + PAGE - 1) / PAGE + 1;
    for (auto run = free_runs.begin(); run != free_runs.end(); ++run) {
        const auto [first, length] = *run;
        if (length < pages) continue;
        void* address = reinterpret_cast<void*>(base + first * PAGE);
        if (mprotect(address, (pages - 1) * PAGE, PROT_READ | PROT_WRITE)) return 0;
        free_runs.erase(run);
        if (length > pages) free_runs[first + pages] = length - pages;

        Region* region = new Region;
        region->begin = base + first * PAGE;
        region->room = bytes;
        set_length(*region, bytes);
        for (size_t page = first; page < first + pages - 1; page++) owner[page] = region;
        memset(address, 0xff, bytes);
        used += bytes;
        return region->begin;
    }
    return 0;
}

bool Memory::release(uintptr_t address) {
    Region* region = find(address);
    if (!region || region->begin != address) return false;
    const size_t bytes = region->room, pages = (bytes + PAGE - 1) / PAGE + 1;
    size_t first = (address - base) / PAGE, length = pages;
    memset(&owner[first], 0, (pages - 1) * sizeof owner[0]);
    // Mapped anew: the pages go back to the system, and a late access is caught.
    mmap(reinterpret_cast<void*>(address), (pages - 1) * PAGE, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    forget_cells(*region);
    delete region;
    used -= bytes;

    // Joins the free runs on both sides.
    auto next = free_runs.lower_bound(first);
    if (next != free_runs.end() && next->first == first + length) {
        length += next->second;
        next = free_runs.erase(next);
    }
    if (next != free_runs.begin()) {
        auto previous = std::prev(next);
        if (previous->first + previous->second == first) {
            previous->second += length;
            return true;
        }
    }
    free_runs[first] = length;
    return true;
}

bool Memory::lend(uintptr_t address, size_t bytes) {
    Region* region = find(address);
    if (!region || region->begin != address || bytes > region->room) return false;
    forget_cells(*region);
    set_length(*region, bytes);
    memset(reinterpret_cast<void*>(address), 0xff, bytes);
    return true;
}

bool Memory::make_room(uintptr_t address, size_t bytes) {
    Region* region = find(address);
    if (!region || region->begin != address || bytes > region->room) return false;
    if (address + bytes > region->end) region->end = address + bytes;
    return true;
}

Region* Memory::find(uintptr_t address) const {
    const uintptr_t page = (address - base) / PAGE;
    return base && address >= base && page < PAGES ? owner[page] : nullptr;
}

bool Memory::holds(uintptr_t address, size_t bytes) const {
    const Region* region = find(address);
    return region && region->holds(address, bytes);
}

void Memory::mark_written(uintptr_t address, size_t bytes) {
    Region* region = find(address);
    if (!region || bytes == 0) return;
    if (!region->written) {
        region->written = static_cast<unsigned char*>(map_lazily(cells_of(*region) / 8 + 1));
        if (!region->written) return;
    }
    size_t cell = (address - region->begin) / CELL_BYTES;
    const size_t end = (address + bytes - region->begin + CELL_BYTES - 1) / CELL_BYTES;
    for (; cell < end && cell % 8; cell++) region->written[cell / 8] |= 1 << cell % 8;
    if (cell < end) memset(&region->written[cell / 8], 0xff, (end - cell) / 8);
    for (cell = cell < end ? end - (end - cell) % 8 : end; cell < end; cell++)
        region->written[cell / 8] |= 1 << cell % 8;
}

}  // namespace emulator
