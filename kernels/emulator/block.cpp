// The scheduler: every CUDA thread is a fiber that runs until it waits, exits or does wrong.
#include "block.h"

#include <cstring>
#include <numeric>

#include "checker.h"

extern "C" {
// The kernels' threadIdx, blockIdx, blockDim and gridDim.
EMULATOR_API emulator::Index emulator_thread_index, emulator_block_index, emulator_block_size,
    emulator_grid_size;
}

namespace emulator {

Block block;

// ---- whose turn it is ------------------------------------------------------------------------

// A number below `bound`, by xorshift64: Marsaglia, "Xorshift RNGs" (2003).
static uint64_t draw(uint64_t bound) {
    block.random ^= block.random << 13;
    block.random ^= block.random >> 7;
    block.random ^= block.random << 17;
    return static_cast<uint64_t>((static_cast<unsigned __int128>(block.random) * bound) >> 64);
}

static int choose_lane(unsigned ready) {
    switch (block.order.mode) {
        case Order::FORWARD: return __builtin_ctz(ready);
        case Order::REVERSE: return 31 - __builtin_clz(ready);
        case Order::RANDOM: break;
    }
    for (uint64_t skip = draw(__builtin_popcount(ready)); skip > 0; skip--) ready &= ready - 1;
    return __builtin_ctz(ready);
}

// The thread that goes next, taken off its warp's ready lanes; -1 if all wait. The running warp
// goes on first, so that few warps are under way at once.
static int take_next(int warp) {
    const int step = block.order.mode == Order::REVERSE ? block.warps - 1 : 1;
    if (block.order.mode == Order::RANDOM) warp = static_cast<int>(draw(block.warps));
    for (int tried = 0; tried < block.warps; tried++, warp = (warp + step) % block.warps) {
        Warp& candidate = block.warp[warp];
        if (!candidate.ready) continue;
        const int lane = choose_lane(candidate.ready);
        candidate.ready &= ~(1u << lane);
        return warp * WARP + lane;
    }
    return -1;
}

static void leave_block() {
    void* abandoned;
    emulator_switch(&abandoned, block.driver_stack_pointer);
}

[[noreturn]] static void fault_stuck() {
    int at_barrier = 0, at_collective = 0;
    Site barrier{}, collective{};
    for (int i = 0; i < block.threads; i++) {
        const Thread& thread = block.thread[i];
        if (thread.waits == Thread::BARRIER) at_barrier++, barrier = thread.waits_at;
        if (thread.waits == Thread::COLLECTIVE) at_collective++, collective = thread.waits_at;
    }
    std::string what =
        format("the block is stuck: %d threads have exited", block.threads - block.living);
    if (at_barrier)
        what += format(", %d wait at a barrier (%s:%d)", at_barrier, barrier.file, barrier.line);
    if (at_collective)
        what += format(", %d wait at a warp collective (%s:%d)", at_collective, collective.file,
                       collective.line);
    fault(at_barrier ? barrier : collective, what);
}

static void run_next() {
    const int last = block.current, next = take_next(last / WARP);
    if (next < 0) fault_stuck();
    block.current = next;
    Thread& thread = block.self();
    emulator_thread_index = thread.index;
    thread.waits = Thread::NOT;
    if (next != last)
        emulator_switch(&block.thread[last].fiber.stack_pointer, thread.fiber.stack_pointer);
}

void wait(Thread::Waits what, Site at) {
    block.self().waits = what;
    block.self().waits_at = at;
    run_next();
}

// ---- a thread's life -------------------------------------------------------------------------

static void thread_main() {
    block.launch->invoke(block.launch->arguments);

    const Thread& self = block.self();
    if (!self.copies.empty())
        fault(self.copies[0].at, "a thread exits before this copy is waited for");
    Warp& warp = block.own_warp();
    warp.exited |= block.own_bit();
    block.living--;
    close_gatherings(warp);
    if (block.living == 0) leave_block();
    run_next();
    __builtin_unreachable();  // no one switches back to a thread that has exited
}

static void start_block(Index index) {
    const Index size = block.launch->block;
    emulator_block_index = index;
    block.at_barrier = block.votes = 0;
    block.living = block.threads;
    for (int w = 0; w < block.warps; w++) {
        Warp& warp = block.warp[w];
        const int lanes = block.threads - w * WARP;
        warp.present = warp.ready = lanes >= WARP ? 0xffffffffu : (1u << lanes) - 1;
        warp.exited = warp.open = 0;
    }
    for (int t = 0; t < block.threads; t++) {
        Thread& thread = block.thread[t];
        const unsigned i = static_cast<unsigned>(t);
        thread.waits = Thread::NOT;
        thread.index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
        thread.copy_group = 0;
        thread.copies.clear();
        prepare(thread.fiber, thread_main, t);
    }
    checker_starts_block();
    block.current = take_next(block.order.mode == Order::REVERSE ? block.warps - 1 : 0);
    emulator_thread_index = block.self().index;
    block.running = true;
    emulator_switch(&block.driver_stack_pointer, block.self().fiber.stack_pointer);
    block.running = false;
}

// ---- a launch --------------------------------------------------------------------------------

// Visits 0..count once each: in order, backwards, or in random strides.
struct Visit {
    uint64_t count, first, stride;

    Visit(uint64_t count, Order::Mode mode) : count(count), first(0), stride(1) {
        if (mode == Order::REVERSE) first = count - 1, stride = count - 1;
        if (mode != Order::RANDOM) return;
        first = draw(count);
        do stride = 1 + draw(count);
        while (std::gcd(stride, count) != 1);
    }
    uint64_t operator[](uint64_t i) const {
        return static_cast<uint64_t>((first + static_cast<unsigned __int128>(i) * stride) % count);
    }
};

Result run(const Launch& launch, Order order) {
    if (!block.stacks) {
        block.stacks = make_stacks(MOST_THREADS);
        for (int t = 0; t < MOST_THREADS; t++)
            block.thread[t].fiber.stack = block.stacks + t * STACK_BYTES;
        block.dynamic_shared = static_cast<char*>(map_lazily(MOST_SHARED_BYTES));
    }
    block.launch = &launch;
    block.order = order;
    block.random = order.seed * 0x9E3779B97F4A7C15u + 1;
    block.threads = static_cast<int>(launch.block.count());
    block.warps = (block.threads + WARP - 1) / WARP;
    block.faulted = false;
    emulator_block_size = launch.block;
    emulator_grid_size = launch.grid;

    checker_starts_launch();
    const Visit visit(launch.grid.count(), order.mode);
    const Index grid = launch.grid;
    for (uint64_t i = 0; i < visit.count && !block.faulted; i++) {
        const uint64_t at = visit[i];
        start_block({static_cast<unsigned>(at % grid.x),
                     static_cast<unsigned>(at / grid.x % grid.y),
                     static_cast<unsigned>(at / grid.x / grid.y)});
    }
    return block.faulted ? LAUNCH_FAILED : SUCCESS;
}

void fault(const std::string& where, const std::string& what) {
    const Index t = emulator_thread_index, b = emulator_block_index;
    report(format("kernel %s, %s: %s [thread (%u, %u, %u) of block (%u, %u, %u)]",
                  block.launch->kernel, where.c_str(), what.c_str(), t.x, t.y, t.z, b.x, b.y, b.z));
    block.faulted = true;
    leave_block();
    __builtin_unreachable();
}

void fault(Site where, const std::string& what) {
    fault(format("%s:%d", where.file, where.line), what);
}

}  // namespace emulator

// ---- what kernels call -----------------------------------------------------------------------

using namespace emulator;

extern "C" {

EMULATOR_API int emulator_barrier(int predicate, Site at) {
    if (block.at_barrier == 0) block.barrier_at = at;
    else if (block.barrier_at != at)
        fault(at, format("a barrier in divergent code: other threads of the block wait at %s:%d",
                         block.barrier_at.file, block.barrier_at.line));
    block.votes += predicate != 0;
    if (++block.at_barrier < block.threads) {
        wait(Thread::BARRIER, at);
        return block.last_votes;
    }
    block.last_votes = block.votes;
    block.at_barrier = block.votes = 0;
    checker_passes_barrier();
    for (int w = 0; w < block.warps; w++) block.warp[w].ready = block.warp[w].present;
    block.own_warp().ready &= ~block.own_bit();
    return block.last_votes;
}

EMULATOR_API int emulator_block_threads() { return block.threads; }

EMULATOR_API void* emulator_dynamic_shared() { return block.dynamic_shared; }

EMULATOR_API void emulator_trap(Site at) { fault(at, "__trap()"); }
}
