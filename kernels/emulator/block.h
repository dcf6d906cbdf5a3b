// One block of threads at a time: who may run, who waits, and for what.
#pragma once
#include <vector>

#include "common.h"
#include "fiber.h"

namespace emulator {

// Which thread goes first where the hardware leaves it open. A kernel that is right gives the same
// bits in all three.
struct Order {
    enum Mode : int { FORWARD, REVERSE, RANDOM } mode;
    uint64_t seed;
};

// A copy that cp.async has promised: made only when it is waited for, so that a missing wait shows.
struct PromisedCopy {
    void* to;
    const void* from;
    int bytes, taken, group;
    Site at;
};

struct Thread {
    enum Waits { NOT, BARRIER, COLLECTIVE } waits;
    Fiber fiber;
    Index index;
    Site waits_at;
    int copy_group;
    std::vector<PromisedCopy> copies;
};

// What the lanes of one mask do together, while some of them are still to come. `finish` is run by
// the last, with every lane's `argument`.
struct Gathering {
    using Finish = void (*)(Gathering&);
    unsigned mask, arrived;
    Finish finish;
    Site at;
    void* argument[WARP];
};

struct Warp {
    unsigned present, ready, exited;
    uint64_t synchronised;  // when its last __syncwarp of all lanes was (checker.h: `clock`)
    static constexpr int MOST_GATHERINGS = 8;
    Gathering gatherings[MOST_GATHERINGS];
    unsigned open;  // a bit for each of them that is under way

    unsigned living() const { return present & ~exited; }
};

// A kernel to be run and what it is run with.
struct Launch {
    const char* kernel;
    Invoke invoke;
    Index grid, block;
    unsigned shared_bytes;
    bool checked;
    void** arguments;
};

struct Block {
    Thread thread[MOST_THREADS];
    Warp warp[MOST_THREADS / WARP];
    int threads, warps;
    int living;   // threads that have not exited
    int current;  // the thread that runs
    bool running = false;

    int at_barrier, votes, last_votes;
    Site barrier_at;

    const Launch* launch;
    Order order;
    uint64_t random;
    char* stacks = nullptr;
    char* dynamic_shared = nullptr;
    void* driver_stack_pointer;  // of the host's thread that launched
    bool faulted;

    Thread& self() { return thread[current]; }
    Warp& own_warp() { return warp[current / WARP]; }
    unsigned own_bit() const { return 1u << (current % WARP); }
};
extern Block block;

// Runs a kernel, block after block, and returns SUCCESS or LAUNCH_FAILED. One at a time: the
// driver's lock is held.
Result run(const Launch& launch, Order order);

// Ends the launch that runs: the kernel did what it must not do, at `where`.
[[noreturn]] void fault(const std::string& where, const std::string& what);
[[noreturn]] void fault(Site where, const std::string& what);

// Lets the other threads of the block run until this one may go on; never to return if it cannot.
void wait(Thread::Waits what, Site at);

// To be called by every lane of `mask`; the last to come runs `finish`.
void gather(unsigned mask, Site at, void* argument, Gathering::Finish finish);

// After a thread has exited, some collectives of its warp may have no one left to wait for.
void close_gatherings(Warp& warp);

}  // namespace emulator
