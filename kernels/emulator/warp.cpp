// What the lanes of a warp do together: shuffles, votes, tensor-core products and promised copies.
//
// Warps are not taken to be synchronous: lanes run one after the other and meet only where all of
// the mask call the same collective at the same place, as sm_60 wants it and later cards allow.
// Only __syncwarp orders memory.
#include <cstring>

#include "block.h"
#include "checker.h"

namespace emulator {

static void close(Warp& warp, Gathering& gathering, unsigned running) {
    warp.open &= ~(1u << (&gathering - warp.gatherings));
    if (gathering.finish) gathering.finish(gathering);
    else if (gathering.arrived == warp.living()) checker_synchronises(warp);
    warp.ready |= gathering.arrived & ~running;
}

// The one under way with this mask, or a new one.
static Gathering& find_gathering(Warp& warp, unsigned mask, Site at, Gathering::Finish finish) {
    for (unsigned left = warp.open; left; left &= left - 1) {
        Gathering& candidate = warp.gatherings[__builtin_ctz(left)];
        if (candidate.mask != mask && !(candidate.mask & mask)) continue;
        const bool same_place = candidate.finish == finish && !(candidate.at != at);
        if (candidate.mask == mask && same_place) return candidate;
        fault(at,
              format(
                  "a warp collective in divergent code: mask 0x%08x here, other lanes are at %s:%d "
                  "with mask 0x%08x",
                  mask, candidate.at.file, candidate.at.line, candidate.mask));
    }
    const int unused = __builtin_ctz(~warp.open);
    if (unused >= Warp::MOST_GATHERINGS) fault(at, "too many masks at once");
    warp.open |= 1u << unused;
    Gathering& gathering = warp.gatherings[unused];
    gathering.mask = mask;
    gathering.arrived = 0;
    gathering.finish = finish;
    gathering.at = at;
    return gathering;
}

void gather(unsigned mask, Site at, void* argument, Gathering::Finish finish) {
    Warp& warp = block.own_warp();
    const unsigned bit = block.own_bit();
    if (!(mask & bit)) fault(at, format("the calling lane is not in its mask 0x%08x", mask));
    Gathering& gathering = find_gathering(warp, mask, at, finish);
    gathering.arrived |= bit;
    gathering.argument[block.current % WARP] = argument;
    if (gathering.arrived == (mask & warp.living())) close(warp, gathering, bit);
    else wait(Thread::COLLECTIVE, at);
}

void close_gatherings(Warp& warp) {
    for (unsigned left = warp.open; left; left &= left - 1) {
        Gathering& gathering = warp.gatherings[__builtin_ctz(left)];
        if (gathering.arrived == (gathering.mask & warp.living())) close(warp, gathering, 0);
    }
}

// Calls `body(lane, argument)` for each lane that takes part.
template <class T, class Body> static void each(Gathering& gathering, Body body) {
    for (unsigned left = gathering.arrived; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        body(lane, *static_cast<T*>(gathering.argument[lane]));
    }
}

struct Shuffle {
    uint64_t value, result;
    int from;
};

static void finish_shuffle(Gathering& gathering) {
    each<Shuffle>(gathering, [&](int, Shuffle& shuffle) {
        if (!(gathering.arrived >> shuffle.from & 1))
            fault(gathering.at,
                  format("a shuffle reads lane %d, which takes no part", shuffle.from));
        shuffle.result = static_cast<Shuffle*>(gathering.argument[shuffle.from])->value;
    });
}

struct Ballot {
    bool vote;
    unsigned votes, voters;
};

static void finish_ballot(Gathering& gathering) {
    unsigned votes = 0;
    each<Ballot>(gathering, [&](int lane, Ballot& ballot) { votes |= ballot.vote << lane; });
    each<Ballot>(gathering, [&](int, Ballot& ballot) {
        ballot.votes = votes;
        ballot.voters = gathering.arrived;
    });
}

// ---- tensor cores ----------------------------------------------------------------------------
// Layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "ldmatrix". A warp of 32 takes part.

static float low(unsigned pair, bool is_bf16);
static float high(unsigned pair, bool is_bf16) { return low(pair >> 16, is_bf16); }

static float low(unsigned pair, bool is_bf16) {
    float wide;
    if (is_bf16) {
        const uint32_t bits = pair << 16;
        memcpy(&wide, &bits, sizeof wide);
    } else {
        const uint16_t bits = static_cast<uint16_t>(pair);
        _Float16 half;
        memcpy(&half, &bits, sizeof half);
        wide = static_cast<float>(half);
    }
    return wide;
}

struct Product {
    float* sums;            // 4 of 16 x 8
    const unsigned *a, *b;  // 4 pairs of 16 x 16, 2 pairs of 16 x 8
    bool is_bf16;
};

static void finish_product(Gathering& gathering) {
    float a[16][16], b[16][8], sums[16][8];
    each<Product>(gathering, [&](int lane, Product& p) {
        const int group = lane / 4, pair = lane % 4 * 2;
        for (int i = 0; i < 4; i++) {
            const int row = group + i % 2 * 8, column = pair + i / 2 * 8;
            a[row][column] = low(p.a[i], p.is_bf16);
            a[row][column + 1] = high(p.a[i], p.is_bf16);
            sums[group + i / 2 * 8][pair + i % 2] = p.sums[i];
        }
        for (int i = 0; i < 2; i++) {
            b[pair + i * 8][group] = low(p.b[i], p.is_bf16);
            b[pair + i * 8 + 1][group] = high(p.b[i], p.is_bf16);
        }
    });
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) sums[i][j] += a[i][k] * b[k][j];
    each<Product>(gathering, [&](int lane, Product& p) {
        for (int i = 0; i < 4; i++) p.sums[i] = sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    });
}

struct Matrices {
    unsigned* fragment;
    const uint16_t* row;  // 8 elements: row `lane % 8` of matrix `lane / 8`
    int count;
    bool transposed;
};

static void finish_matrices(Gathering& gathering) {
    each<Matrices>(gathering, [&](int lane, Matrices& m) {
        for (int matrix = 0; matrix < m.count; matrix++) {
            uint16_t pair[2];
            for (int i = 0; i < 2; i++) {
                int row = lane / 4, column = lane % 4 * 2 + i;
                if (m.transposed) std::swap(row, column);
                pair[i] = static_cast<Matrices*>(gathering.argument[matrix * 8 + row])->row[column];
            }
            m.fragment[matrix] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
        }
    });
}

}  // namespace emulator

// ---- what kernels call -----------------------------------------------------------------------

using namespace emulator;

static constexpr unsigned ALL_LANES = 0xffffffffu;

extern "C" {

EMULATOR_API void emulator_sync_warp(unsigned mask, Site at) { gather(mask, at, nullptr, nullptr); }

EMULATOR_API unsigned long long emulator_shuffle(unsigned mask, unsigned long long value, int lane,
                                                 Site at) {
    Shuffle shuffle{value, 0, lane};
    gather(mask, at, &shuffle, finish_shuffle);
    return shuffle.result;
}

EMULATOR_API unsigned emulator_ballot(unsigned mask, int predicate, unsigned* voters, Site at) {
    Ballot ballot{predicate != 0, 0, 0};
    gather(mask, at, &ballot, finish_ballot);
    *voters = ballot.voters;
    return ballot.votes;
}

EMULATOR_API unsigned emulator_active_mask() { return block.own_warp().living(); }

EMULATOR_API unsigned emulator_lane() { return static_cast<unsigned>(block.current % WARP); }

EMULATOR_API void emulator_mma_16x8x16(float* sums, const unsigned* a, const unsigned* b,
                                       int is_bf16, Site at) {
    Product product{sums, a, b, is_bf16 != 0};
    gather(ALL_LANES, at, &product, finish_product);
}

EMULATOR_API void emulator_load_matrices(unsigned* fragment, const void* row, int count,
                                         int transposed, Site at) {
    const int lane = block.current % WARP;
    if (lane < count * 8) {
        if (reinterpret_cast<uintptr_t>(row) % 16)
            fault(at, "ldmatrix: a row must be aligned to 16 bytes");
        check_access(row, 16, Access::READ, at);
    }
    Matrices matrices{fragment, static_cast<const uint16_t*>(row), count, transposed != 0};
    gather(ALL_LANES, at, &matrices, finish_matrices);
}

EMULATOR_API void emulator_copy_async(void* to, const void* from, int bytes, int taken, Site at) {
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % bytes)
        fault(at, format("cp.async: addresses must be aligned to %d bytes", bytes));
    check_access(to, bytes, Access::PROBE, at);  // the hardware may write as early as now
    Thread& self = block.self();
    self.copies.push_back({to, from, bytes, taken, self.copy_group, at});
}

EMULATOR_API void emulator_copy_async_commit() { block.self().copy_group++; }

EMULATOR_API void emulator_copy_async_wait(int groups_left) {
    Thread& self = block.self();
    std::vector<PromisedCopy> left;
    for (const PromisedCopy& copy : self.copies) {
        if (copy.group >= self.copy_group - groups_left) {
            left.push_back(copy);
            continue;
        }
        if (copy.taken) check_access(copy.from, copy.taken, Access::READ, copy.at);
        check_access(copy.to, copy.bytes, Access::WRITE, copy.at);
        memcpy(copy.to, copy.from, copy.taken);
        memset(static_cast<char*>(copy.to) + copy.taken, 0, copy.bytes - copy.taken);
    }
    self.copies.swap(left);
}
}
