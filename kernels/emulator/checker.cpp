// The rules of checker.h, and the functions that g++ calls in instrumented code.
#include "checker.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace emulator {

bool all_kernels_checked = true;

// ---- time ------------------------------------------------------------------------------------

static uint64_t clock_ = 1, launch_start, block_start, last_barrier;

void checker_starts_block() {
    block_start = last_barrier = ++clock_;
    for (int w = 0; w < block.warps; w++) block.warp[w].synchronised = clock_;
}

void checker_passes_barrier() { last_barrier = ++clock_; }

void checker_synchronises(Warp& warp) { warp.synchronised = ++clock_; }

// ---- who was here before ---------------------------------------------------------------------

static Access own_access() {
    Access own{};
    own.time = clock_;
    own.thread = static_cast<uint64_t>(block.current);
    return own;
}

// Whether all of `past` is over before what the running thread does now. `since`: earlier accesses
// do not matter.
static bool is_over(Access past, uint64_t since) {
    if (past.time < since) return true;
    if (past.other_blocks || past.time < block_start) return false;
    if (past.time < last_barrier) return true;
    if (past.other_warps || static_cast<int>(past.thread) / WARP != block.current / WARP)
        return false;
    if (past.time < block.own_warp().synchronised) return true;
    return !past.other_lanes && static_cast<int>(past.thread) == block.current;
}

// `past` and the running thread's access, in one.
static Access joined(Access past, uint64_t since) {
    Access both = own_access();
    if (past.time < since) return both;
    both.other_blocks = past.other_blocks || past.time < block_start;
    if (past.time < last_barrier) return both;
    const int thread = static_cast<int>(past.thread);
    const bool same_warp = thread / WARP == block.current / WARP;
    both.other_warps = past.other_warps || !same_warp;
    if (!same_warp || past.time < block.own_warp().synchronised) return both;
    both.other_lanes = past.other_lanes || thread != block.current;
    return both;
}

// ---- where it is -----------------------------------------------------------------------------

struct KernelFile {
    const void* owner;
    std::vector<Region> shared;  // by address
    uintptr_t begin, end;        // the whole image
};
static std::vector<KernelFile> files;
static Region dynamic_shared;

void checker_knows(const void* owner, std::vector<Region> shared, uintptr_t begin, uintptr_t end) {
    files.push_back({owner, std::move(shared), begin, end});
}

size_t cells_of(const Region& region) { return region.room / CELL_BYTES + 1; }

static void make_cells(Region& region) {
    region.cells = static_cast<Cell*>(map_lazily(cells_of(region) * sizeof(Cell)));
}

void forget_cells(Region& region) {
    unmap(region.cells, cells_of(region) * sizeof(Cell));
    unmap(region.written, cells_of(region) / 8 + 1);
    region.cells = nullptr;
    region.written = nullptr;
}

void checker_forgets(const void* owner) {
    for (size_t i = 0; i < files.size(); i++) {
        if (files[i].owner != owner) continue;
        for (Region& region : files[i].shared) forget_cells(region);
        files.erase(files.begin() + i);
        return;
    }
}

static Region* find_static_shared(const KernelFile& file, uintptr_t address) {
    size_t low = 0, high = file.shared.size();  // the last region that begins at or before it
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (file.shared[middle].begin <= address) low = middle + 1;
        else high = middle;
    }
    if (low == 0 || address >= file.shared[low - 1].end) return nullptr;
    return const_cast<Region*>(&file.shared[low - 1]);
}

void checker_starts_launch() {
    launch_start = ++clock_;
    if (!dynamic_shared.cells) {
        dynamic_shared.shared = true;
        dynamic_shared.name = "the dynamic shared memory";
        dynamic_shared.begin = reinterpret_cast<uintptr_t>(block.dynamic_shared);
        dynamic_shared.room = MOST_SHARED_BYTES;
        make_cells(dynamic_shared);
    }
    dynamic_shared.end = dynamic_shared.begin + block.launch->shared_bytes;
}

// ---- the check -------------------------------------------------------------------------------

// The source line of an instruction, by binutils' addr2line: the innermost place and, where that
// was inlined, what it was inlined into.
static std::string place(void* return_address) {
    Dl_info file;
    if (!dladdr(return_address, &file)) return "?";
    const auto offset = static_cast<char*>(return_address) - static_cast<char*>(file.dli_fbase) - 1;
    const std::string command = format("addr2line -i -e '%s' 0x%zx 2>/dev/null", file.dli_fname,
                                       static_cast<size_t>(offset));
    std::string all;
    FILE* lines = popen(command.c_str(), "r");
    if (!lines) return "?";
    for (char line[512]; fgets(line, sizeof line, lines);) {
        line[strcspn(line, " \n")] = 0;  // newlines, and "(discriminator 2)"
        const char* slash = strrchr(line, '/');
        const char* name = slash ? slash + 1 : line;
        if (!strncmp(name, "emulator.h", 10) || !strncmp(name, "intrinsics.h", 12)) continue;
        all += (all.empty() ? "" : " in ") + std::string(name);
    }
    pclose(lines);
    return all.empty() ? "?" : all;
}
static std::string place(Site at) { return format("%s:%d", at.file, at.line); }

static const char* verb(Access::Kind kind) {
    return kind == Access::READ     ? "a read"
           : kind == Access::ATOMIC ? "an atomic update"
                                    : "a write";
}

template <class Where>
static void fault_race(const Region& region, uintptr_t address, Access::Kind kind, Access past,
                       bool past_is_write, Where where) {
    const bool other_block = past.other_blocks || past.time < block_start;
    const std::string who = other_block
                                ? "another block"
                                : format("thread %d of this block", static_cast<int>(past.thread));
    fault(place(where),
          format("%s memory race: %s at byte %zu of %s is not ordered after a %s by %s",
                 region.shared ? "shared" : "global", verb(kind),
                 static_cast<size_t>(address - region.begin), region.name.c_str(),
                 past_is_write ? "write" : "read", who.c_str()));
}

template <class Where>
static void check_cells(Region& region, uintptr_t address, size_t bytes, Access::Kind kind,
                        Where where) {
    if (!region.cells) make_cells(region);
    // Shared memory begins with its block, global memory may be left from earlier launches.
    const uint64_t since = region.shared ? block_start : launch_start;
    size_t i = (address - region.begin) / CELL_BYTES;
    const size_t end = (address + bytes - 1 - region.begin) / CELL_BYTES;
    for (; i <= end; i++) {
        Cell& cell = region.cells[i];
        const uintptr_t at = region.begin + i * CELL_BYTES;
        if (!is_over(cell.write, since) && !(kind == Access::ATOMIC && cell.write.is_atomic))
            fault_race(region, at, kind, cell.write, true, where);
        if (kind != Access::READ && !is_over(cell.read, since))
            fault_race(region, at, kind, cell.read, false, where);

        const bool unwritten = region.shared
                                   ? cell.write.time < since
                                   : cell.write.time == 0 && all_kernels_checked &&
                                         !(region.written && region.written[i / 8] >> i % 8 & 1);
        if (unwritten && (kind == Access::READ || kind == Access::ATOMIC))
            fault(place(where),
                  format("%s of byte %zu of %s, which nothing has written", verb(kind),
                         static_cast<size_t>(at - region.begin), region.name.c_str()));

        if (kind == Access::READ) cell.read = joined(cell.read, since);
        if (kind == Access::WRITE) cell.write = own_access();
        if (kind == Access::ATOMIC) {
            cell.write = joined(cell.write, since);
            cell.write.is_atomic = 1;
        }
    }
}

template <class Where>
static void check(const void* pointer, size_t bytes, Access::Kind kind, Where where) {
    if (!block.running || block.faulted) return;
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (block.self().fiber.owns(address)) return;

    Region* region = memory.find(address);
    const KernelFile* image = nullptr;
    if (!region && address - dynamic_shared.begin < dynamic_shared.room) region = &dynamic_shared;
    for (size_t f = 0; !region && !image && f < files.size(); f++) {
        if (address < files[f].begin || address >= files[f].end) continue;
        image = &files[f];
        region = find_static_shared(*image, address);
    }
    if (region && region->holds(address, bytes))
        return check_cells(*region, address, bytes, kind, where);
    if (region)
        fault(place(where),
              format("%s of %zu bytes at byte %zu of %s, out of its bounds", verb(kind), bytes,
                     static_cast<size_t>(address - region->begin), region->name.c_str()));
    if (image && kind == Access::READ) return;  // constants
    const uintptr_t stacks = reinterpret_cast<uintptr_t>(block.stacks);
    if (address - stacks < STACK_BYTES * MOST_THREADS)
        fault(place(where), format("%s of another thread's local memory", verb(kind)));
    fault(place(where), format("%s of %zu bytes out of bounds: no allocation holds address %p",
                               verb(kind), bytes, pointer));
}

void check_access(const void* address, size_t bytes, Access::Kind kind, Site at) {
    if (block.launch->checked) check(address, bytes, kind, at);
}

}  // namespace emulator

// ---- what g++ calls before each access, and where it finds undefined behaviour ------------------

using namespace emulator;

#define HERE __builtin_return_address(0)
#define ACCESS_OF(bytes)                                                                     \
    EMULATOR_API void __tsan_read##bytes(void* p) { check(p, bytes, Access::READ, HERE); }   \
    EMULATOR_API void __tsan_write##bytes(void* p) { check(p, bytes, Access::WRITE, HERE); } \
    EMULATOR_API void __tsan_unaligned_read##bytes(void* p) {                                \
        check(p, bytes, Access::READ, HERE);                                                 \
    }                                                                                        \
    EMULATOR_API void __tsan_unaligned_write##bytes(void* p) {                               \
        check(p, bytes, Access::WRITE, HERE);                                                \
    }

extern "C" {

ACCESS_OF(1)
ACCESS_OF(2)
ACCESS_OF(4)
ACCESS_OF(8)
ACCESS_OF(16)
EMULATOR_API void __tsan_read_range(void* p, size_t bytes) { check(p, bytes, Access::READ, HERE); }
EMULATOR_API void __tsan_write_range(void* p, size_t bytes) {
    check(p, bytes, Access::WRITE, HERE);
}
EMULATOR_API void __tsan_init() {}
EMULATOR_API void __tsan_func_entry(void*) {}
EMULATOR_API void __tsan_func_exit() {}

// The head of every report of -fsanitize=bounds,alignment,...
struct SourceLocation {
    const char* file;
    uint32_t line, column;
};
#define UNDEFINED(name, what)                                                       \
    EMULATOR_API void __ubsan_handle_##name(SourceLocation* at, void*) {            \
        if (block.running) fault(Site{at->file, static_cast<int>(at->line)}, what); \
    }
UNDEFINED(out_of_bounds, "an array's index is out of its bounds")
UNDEFINED(type_mismatch_v1, "a misaligned or null address")
UNDEFINED(shift_out_of_bounds, "a shift by a negative number or by more than the type's bits")
UNDEFINED(divrem_overflow, "an integer division by zero")

EMULATOR_API void emulator_atomic(const void* address, unsigned bytes, Site at) {
    check_access(address, bytes, Access::ATOMIC, at);
}
}
