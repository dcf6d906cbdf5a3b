// Causal attention, backward, by tensor cores: f16 and bf16, head_dim 64 or 128, from sm_80 on.
//
// Arguments and mathematics are those of attention_backward.cu, whose row pass makes `along` here
// too. One body serves both kernels. A block owns 64 vectors of one head, of keys (dK and dV) or of
// queries (dQ), 16 a warp, and walks over tiles of the other kind, of 64 or, for head_dim 128, 32:
//
//   rows     first, second   columns  first, second    sums
//   keys     K, V            queries  Q, dY            dK += dSᵀ·Q, dV += Pᵀ·dY
//   queries  Q, dY           keys     K, V             dQ += dS·K
//
// S and dY·Vᵀ come out with the owned vectors as rows, transposed for keys, so that P and dS are, but
// for rounding, the left sides of the products that follow and never leave the registers. The next
// tile is under way, by cp.async into the other of two buffers, while one is worked on: 49.5 KiB of
// shared memory for head_dim 64, 65.5 for 128. Registers: 64 or 128 for the sums of keys, 64 or 32 for
// S and dY·Vᵀ, and what is owned, but for keys of 128, stays in them too: two blocks an SM. A fragment
// read from shared memory feeds one mma, 128 bytes for 1024 multiplications: that is the limit, at the
// tensor cores' rate on an A100 and below it on an H100. Twice the rows would not fit the registers.
#include "attention_tc.cuh"

#if TENSOR_CORES
static constexpr u32 THREADS = 128;

// Vectors of a tile of the other kind.
template <u32 D> static constexpr u32 OTHERS = 4096 / D;

// What a tile of queries brings besides vectors.
struct Stats {
    f32 lse[TILE], along[TILE];
    u32 first[TILE];
};

// The owned vectors of a block and the buffers for the others.
template <class S, u32 D> struct Shared {
    S own[2][TILE * D];
    S other[2][2][OTHERS<D> * D];
    Stats stats[2];
};

// A pair of matrices [positions, D] that are read tile by tile.
template <class S> struct Pair {
    const S *first, *second;
    u64 first_stride, second_stride;

    template <u32 ROWS, u32 D> __device__ void copy(S (*to)[ROWS * D], u32 at, u32 positions) const {
        copy_tile<ROWS, D, THREADS>(to[0], first + at * first_stride, first_stride, positions - at);
        copy_tile<ROWS, D, THREADS>(to[1], second + at * second_stride, second_stride, positions - at);
    }
};

template <class S, u32 D, bool KEYS>
__device__ __forceinline__ void backward(S* dqkv, const S* qkv, const S* dy, const f32* lse,
                                         const f32* along, const u32* first_key, const Problem& p) {
    typedef Shared<S, D> Memory;
    constexpr u32 COLS = OTHERS<D>;
    DYNAMIC_SHARED(Memory, memory);
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const u32 per_head = (p.time + TILE - 1) / TILE, tile = blockIdx.x % per_head;
    // Blocks with most to do start first.
    const u32 own0 = (KEYS ? tile : per_head - 1 - tile) * TILE, owned = min(TILE, p.time - own0);
    const BackwardHead<S> head(p, blockIdx.x / per_head, qkv, dy, lse, along, first_key);
    const Pair<S> queries{head.q, head.dy, head.q_stride, head.dy_stride};
    const Pair<S> keys{head.k, head.v, head.kv_stride, head.kv_stride};
    const Pair<S>&own = KEYS ? keys : queries, &other = KEYS ? queries : keys;
    const Scores score(p, head.head);
    const u64 coordinate = coordinate_of(p, head.sample, head.head);

    // 0 where there is no query, which together with a first key beyond all makes P 0 there.
    auto take = [&](Stats& stats, u32 query0) {
        if (threadIdx.x >= (KEYS ? COLS : TILE)) return;
        const u32 i = threadIdx.x, query = query0 + i;
        stats.first[i] = query < p.time ? head.first_key[query] : ~0u;
        stats.lse[i] = query < p.time ? head.lse[query] * LOG2_E : 0.0f;
        stats.along[i] = query < p.time ? head.along[query] : 0.0f;
    };
    // The first tile from `at` on that has to do with the owned vectors; alike for every thread.
    auto next = [&](u32 at) -> u32 {
        while (KEYS && at < p.time) {
            const u32 query = at + threadIdx.x;
            const bool exists = threadIdx.x < COLS && query < p.time;
            if (__syncthreads_or(exists && head.first_key[query] < own0 + owned)) break;
            at += COLS;
        }
        return at;
    };
    auto begin = [&](u32 at, u32 stage) {
        other.template copy<COLS, D>(memory->other[stage], at, p.time);
        if (KEYS) take(memory->stats[stage], at);
    };

    own.template copy<TILE, D>(memory->own, own0, p.time);
    const u32 end = KEYS ? p.time : own0 + owned;
    u32 at = own0;
    if (!KEYS) {
        take(memory->stats[0], own0);
        __syncthreads();
        for (u32 i = 0; i < TILE; i++) at = min(at, memory->stats[0].first[i] / COLS * COLS);
    }
    at = next(at);
    if (at < end) begin(at, 0);

    constexpr bool RESIDENT = D == 64 || !KEYS;
    const u32 row0 = warp * 16;
    const Rows<D, S> first[1] = {{memory->own[0], row0}}, second[1] = {{memory->own[1], row0}};
    Resident<D> first_kept[1], second_kept[1];
    // The sums that the first matrix of the other kind goes into, dK or dQ, and the second, dV.
    f32 to_first[1][D / 8][4] = {}, to_second[1][D / 8][4] = {};
    bool fresh = true;
    for (u32 stage = 0; at < end; stage ^= 1) {
        copy_async_wait();
        __syncthreads();  // this tile is there, and nobody works on the one before any more
        const u32 after = next(at + COLS);
        if (after < end) begin(after, stage ^ 1);
        const S* const columns[2] = {memory->other[stage][0], memory->other[stage][1]};

        f32 s[1][COLS / 8][4] = {}, d[1][COLS / 8][4] = {};
        if constexpr (RESIDENT) {
            if (fresh) first_kept[0].fill(first[0]), second_kept[0].fill(second[0]);
            fresh = false;
            products<S, D, COLS, 1>(s, first_kept, columns[0]);
            products<S, D, COLS, 1>(d, second_kept, columns[1]);
        } else {
            products<S, D, COLS, 1>(s, first, columns[0]);
            products<S, D, COLS, 1>(d, second, columns[1]);
        }
        const Stats& stats = memory->stats[KEYS ? stage : 0];
        // What depends on the launch alone is asked outside of the loops.
        auto each = [&](auto change) {
#pragma unroll
            for (u32 n = 0; n < COLS / 8; n++)
#pragma unroll
                for (u32 e = 0; e < 4; e++)
                    change(s[0][n][e], d[0][n][e], row0 + g + e / 2 * 8, 8 * n + 2 * t + e % 2);
        };
        auto query_of = [](u32 row, u32 col) { return KEYS ? col : row; };
        each([&](f32& x, f32&, u32 row, u32 col) {
            x = x * score.scale - stats.lse[query_of(row, col)];
        });
        if (p.alibi)
            each([&](f32& x, f32&, u32 row, u32 col) {
                const i32 distance = (i32)(own0 + row) - (i32)(at + col);
                x += score.slope * (f32)(KEYS ? distance : -distance);
            });
        each([&](f32& x, f32&, u32 row, u32 col) {
            const u32 key = KEYS ? own0 + row : at + col, query = KEYS ? at + col : own0 + row;
            const bool visible = key >= stats.first[query_of(row, col)] && key <= query;
            x = visible ? exp2_fast(x) : 0.0f;
        });
        if (p.threshold) {
#pragma unroll
            for (u32 n = 0; n < COLS / 8; n++) {
                const u32 keeps = KEYS ? keeps_by_key(p, coordinate, at + 8 * n, own0 + row0)
                                       : keeps_by_query(p, coordinate, own0 + row0, at + 8 * n);
#pragma unroll
                for (u32 e = 0; e < 4; e++) {
                    const f32 prob = s[0][n][e], keep = keeps >> e & 1 ? p.keep_scale : 0.0f;
                    const u32 row = row0 + g + e / 2 * 8, col = 8 * n + 2 * t + e % 2;
                    s[0][n][e] = prob * keep;
                    d[0][n][e] = prob * (d[0][n][e] * keep - stats.along[query_of(row, col)]);
                }
            }
        } else {
            each([&](f32& x, f32& dx, u32 row, u32 col) {
                dx = x * (dx - stats.along[query_of(row, col)]);
            });
        }
        u32 packed_tile[1][COLS / 16][4];
        if (KEYS) {
            pack<S, COLS>(packed_tile[0], s[0]);
            combine<S, D, COLS, 1>(to_second, packed_tile, columns[1]);
        }
        pack<S, COLS>(packed_tile[0], d[0]);
        combine<S, D, COLS, 1>(to_first, packed_tile, columns[0]);
        at = after;
    }

    copy_async_wait();
    __syncthreads();
    const u64 stride = head.q_stride, width = (u64)p.heads * D;
    S* to = dqkv + head.start + (own0 + row0) * stride + (KEYS ? width : 0);
    const u32 rows = owned > row0 ? owned - row0 : 0;
    write<S, D>(to, stride, rows, to_first[0], p.scale, p.scale, memory->own[0], row0);
    if (KEYS) write<S, D>(to + width, stride, rows, to_second[0], 1.0f, 1.0f, memory->own[1], row0);
}
#else
template <class S, u32 D, bool KEYS>
__device__ void backward(S*, const S*, const S*, const f32*, const f32*, const u32*, const Problem&) {}
#endif

#define BACKWARD(what, KEYS, S, dims)                                                             \
    KERNEL(128, attention_tc_##what##_##dims##_##S)                                               \
    (S * dqkv, const S* qkv, const S* dy, const f32* lse, const f32* along, const u32* first_key, \
     Problem p) {                                                                                 \
        backward<S, dims, KEYS>(dqkv, qkv, dy, lse, along, first_key, p);                         \
    }
#define BACKWARDS(S)                                             \
    BACKWARD(keys, true, S, 64) BACKWARD(queries, false, S, 64)   \
    BACKWARD(keys, true, S, 128) BACKWARD(queries, false, S, 128)
BACKWARDS(f16)
BACKWARDS(bf16)
