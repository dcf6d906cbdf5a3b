// The next token of each row of logits, without sorting (`src/ops/sample`).
//
//   logits  (rows, vocab), of which ids below `limit` are chosen from      tokens  (rows)
//
// A block for each row. Bytes: greedy reads the row once. A draw reads it once for its largest logit,
// three times for top-k, three times for top-p and once to pick; a row of 250,880 logits is 1 MB and
// after the first time comes from the L2 cache. Fast because nothing is sorted or written: the k-th
// weight and the weight at which top-p ends are found digit by digit, from a histogram over their
// leading 11 bits, then the next 11, then the last 8; weights are computed anew wherever they are read.
// Weights are summed as integers: any order gives the same sum, so integer atomics are deterministic.
#include "common.cuh"

static constexpr u32 WARPS = 32;
static constexpr u32 THREADS = WARPS * WARP;
static constexpr u32 BINS = 2048;
// Marks a row from which nothing can be chosen.
static constexpr u32 NOTHING = 0xffffffffu;

struct Shared {
    f32 scratch[WARP];
    u64 sums[WARPS];
    // Sums of 64 bits in two halves, as shared memory adds 32 bits at once.
    u32 low[BINS], high[BINS];
    u32 id;
};

// The largest logit and the first id at which it stands; NaN counts as ∞.
struct Largest {
    f32 logit;
    u32 id;

    __device__ __forceinline__ bool is_finite() const { return fabsf(logit) < infinity(); }
};

template <class T>
__device__ __forceinline__ Largest largest(const T* logits, u32 limit, Shared& shared) {
    Largest mine{-infinity(), NOTHING};
    for (u32 id = threadIdx.x; id < limit; id += THREADS) {
        const f32 logit = to_f32(logits[id]);
        if (!(logit <= mine.logit)) mine = {logit == logit ? logit : infinity(), id};
    }
    if (threadIdx.x == 0) shared.id = NOTHING;
    const f32 of_row = block_max(mine.logit, shared.scratch);
    if (mine.logit == of_row) atomicMin(&shared.id, mine.id);
    __syncthreads();
    return {of_row, shared.id};
}

// eˣ for x ≤ 0 exactly as `cpu::math::exp` computes it, without fused multiplications, so that both
// devices see the same weights, keep the same tokens and find the same ties.
__device__ __forceinline__ f32 exp_as_cpu(f32 x) {
    const f32 round = 12582912.0f;
    x = x < -104.0f ? -104.0f : x;
    const f32 shifted = __fadd_rn(__fmul_rn(x, 1.44269504f), round);
    const f32 n = __fadd_rn(shifted, -round);
    const f32 r = __fadd_rn(__fadd_rn(x, -__fmul_rn(n, 0.6933594f)), __fmul_rn(n, 2.1219444e-4f));
    const f32 coefficients[] = {0.0013947595f, 0.008367247f, 0.041666266f, 0.16666538f, 0.5f};
    f32 rest = 0.0f;
#pragma unroll
    for (f32 c : coefficients) rest = __fadd_rn(__fmul_rn(rest, r), c);
    const f32 exp_m1 = __fadd_rn(r, __fmul_rn(__fmul_rn(r, r), rest));
    const int exponent = (int)(__float_as_uint(shifted) - __float_as_uint(round)), half = exponent >> 1;
    const f32 first = __uint_as_float((u32)(half + 127) << 23);
    const f32 second = __uint_as_float((u32)(exponent - half + 127) << 23);
    return __fmul_rn(__fmul_rn(__fadd_rn(1.0f, exp_m1), first), second);
}

// The item of a sequence at which its running sum first exceeds a target.
struct Found {
    u32 at;
    // What the target is beyond the items before, and what this item is: rest < item.
    u64 rest, item;
};

// Finds it in `n` items of `value(i)` by narrowing: each warp sums a 32nd of the items in question,
// then the 32nd that the target falls into is in question. `target(total)` is asked after the first
// round and is less than the total. Every thread gets the answer.
template <class Value, class Target>
__device__ __forceinline__ Found search(u32 n, Shared& shared, Value value, Target target) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    Found found{0, 0, 0};
    for (bool first = true;; first = false) {
        const u32 chunk = (n + WARPS - 1) / WARPS;
        u64 sum = 0;
        for (u32 i = warp * chunk + lane; i < n && i < (warp + 1) * chunk; i += WARP)
            sum += value(found.at + i);
#pragma unroll
        for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(ALL_LANES, sum, step);
        __syncthreads();
        if (lane == 0) shared.sums[warp] = sum;
        __syncthreads();
        // From here on lane i of every warp speaks for warp i.
        const u64 mine = shared.sums[lane];
        u64 running = mine;
#pragma unroll
        for (int step = 1; step < 32; step <<= 1) {
            const u64 before = __shfl_up_sync(ALL_LANES, running, step);
            if (lane >= step) running += before;
        }
        if (first) found.rest = target(__shfl_sync(ALL_LANES, running, 31));
        const u32 hit = __ffs(__ballot_sync(ALL_LANES, running > found.rest)) - 1;
        found.rest -= __shfl_sync(ALL_LANES, running - mine, hit);
        found.item = __shfl_sync(ALL_LANES, mine, hit);
        found.at += hit * chunk;
        if (chunk == 1) return found;
        n = n - hit * chunk < chunk ? n - hit * chunk : chunk;
    }
}

// The number x ≥ 0 as bits that compare as numbers do.
__device__ __forceinline__ u32 bits_of(f32 x) { return __float_as_uint(x); }

// Falling through all weights from 1 down, the weight at which the sum of `measure(weight)` over the
// tokens first exceeds a target; `at` are its bits and `item` the sum over the tokens of this weight.
template <class Weight, class Measure, class Target>
__device__ __forceinline__ Found
threshold(u32 limit, Shared& shared, Weight weight, Measure measure, Target target) {
    Found found{0, 0, 0};
    u32 known = 30;  // Bits of a weight, at most 1, that are not found yet.
    for (u32 digits = 11; known > 0; digits = known < 11 ? known : 11) {
        const u32 shift = known - digits, bins = 1u << digits;
        // `search` has passed a barrier since it last read the bins.
        for (u32 i = threadIdx.x; i < bins; i += THREADS) shared.low[i] = shared.high[i] = 0;
        __syncthreads();
        for (u32 id = threadIdx.x; id < limit; id += THREADS) {
            const f32 w = weight(id);
            const u64 size = measure(w);
            if (size == 0 || bits_of(w) >> known != found.at) continue;
            const u32 bin = bins - 1 - (bits_of(w) >> shift & (bins - 1));
            const u32 before = atomicAdd(&shared.low[bin], (u32)size);
            const u32 high = (u32)(size >> 32) + (before + (u32)size < before);
            if (high) atomicAdd(&shared.high[bin], high);
        }
        __syncthreads();
        auto bin = [&](u32 i) { return (u64)shared.high[i] << 32 | shared.low[i]; };
        const Found next = search(bins, shared, bin, [&](u64 total) {
            return known == 30 ? target(total) : found.rest;
        });
        found = {found.at << digits | (bins - 1 - next.at), next.rest, next.item};
        known = shift;
    }
    return found;
}

// A token's rank as a number: the heavier has the larger key, of two equals the lower id.
__device__ __forceinline__ u64 key(u32 weight_bits, u32 id) { return (u64)weight_bits << 32 | ~id; }

template <class T>
__device__ void greedy(u32* tokens, const T* logits, u32 vocab, u32 limit) {
    __shared__ Shared shared;
    const Largest top = largest(logits + (u64)blockIdx.x * vocab, limit, shared);
    if (threadIdx.x == 0) tokens[blockIdx.x] = top.is_finite() ? top.id : NOTHING;
}

// `uniform` is a number in [0, 1) times 2⁶⁴ for each row. `scale` is what a weight of 1 is as an
// integer; top_k 0 keeps all, and so does top_p 0, which is p·2⁶⁴ otherwise.
template <class T>
__device__ void draw(
    u32* tokens, const T* logits, const u64* uniform, u32 vocab, u32 limit, f32 temperature, f32 scale,
    u32 top_k, u64 top_p) {
    __shared__ Shared shared;
    logits += (u64)blockIdx.x * vocab;
    const Largest top = largest(logits, limit, shared);
    if (!top.is_finite()) {
        if (threadIdx.x == 0) tokens[blockIdx.x] = NOTHING;
        return;
    }
    auto weight = [=](u32 id) { return exp_as_cpu((to_f32(logits[id]) - top.logit) / temperature); };
    auto mass = [=](f32 weight) { return (u64)(weight * scale); };

    u32 lightest = 0;
    if (top_k > 0 && top_k < limit) {
        // Weights that have faded to 0 are not counted: none of them is ever drawn.
        auto one = [](f32 weight) -> u64 { return weight > 0.0f; };
        auto kth = [=](u64 total) -> u64 { return (top_k < total ? top_k : total) - 1; };
        lightest = threshold(limit, shared, weight, one, kth).at;
    }
    u64 least = key(lightest, ~0u);
    if (top_p > 0) {
        auto kept = [=](f32 weight) { return bits_of(weight) < lightest ? 0 : mass(weight); };
        // The largest integer below p·total.
        auto share = [=](u64 total) { return __umul64hi(top_p, total) - (top_p * total == 0); };
        const Found last = threshold(limit, shared, weight, kept, share);
        least = key(last.at, ~0u);
        // Of tokens that weigh the same the lower ids are kept, as many as begin within the share.
        const u64 each = mass(__uint_as_float(last.at)), after = last.rest / each;
        if ((after + 1) * each < last.item) {
            auto equal = [=](u32 id) -> u64 { return bits_of(weight(id)) == last.at; };
            least = key(last.at, search(limit, shared, equal, [=](u64) { return after; }).at);
        }
    }
    auto kept = [=](u32 id) {
        const f32 w = weight(id);
        return key(bits_of(w), id) < least ? 0 : mass(w);
    };
    const u64 random = uniform[blockIdx.x];
    const Found token = search(limit, shared, kept, [=](u64 total) { return __umul64hi(random, total); });
    if (threadIdx.x == 0) tokens[blockIdx.x] = token.at;
}

#define SAMPLE(T)                                                                             \
    KERNEL(THREADS, sample_greedy_##T)(u32 * tokens, const T* logits, u32 vocab, u32 limit) { \
        greedy(tokens, logits, vocab, limit);                                                 \
    }                                                                                         \
    KERNEL(THREADS, sample_draw_##T)                                                          \
    (u32 * tokens, const T* logits, const u64* uniform, u32 vocab, u32 limit, f32 temperature, \
     f32 scale, u32 top_k, u64 top_p) {                                                       \
        draw(tokens, logits, uniform, vocab, limit, temperature, scale, top_k, top_p);        \
    }

SAMPLE(f32)
SAMPLE(f16)
SAMPLE(bf16)
