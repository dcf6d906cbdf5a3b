// Causal attention, forward, by tensor cores: f16 and bf16, head_dim 64 or 128, from sm_80 on.
//
// Arguments and mathematics are those of attention_forward.cu. A block has 128 queries of one head,
// a warp 32 of them, and walks over tiles of 64 keys, or 32 for head_dim 128. Scores stay in
// registers, where the sums of one product are, but for rounding, the left side of the next. Each
// fragment of K and V read from shared memory feeds two mma, 64 bytes for 1024 multiplications, half
// of what shared memory gives in the time that an A100 needs for them. V is under way while scores are
// made, and the next K while values are summed, each by cp.async into its one buffer: 32 KiB of shared
// memory for head_dim 64, 48 KiB for 128. Registers: 128 or 160 for scores and sums; Q stays in 32 for
// head_dim 64 and is read anew for 128: two blocks an SM. Exponentials, 16 a clock on an SM, take half
// as long as the products of head_dim 64 and run beside those of other warps; in base 2 each is one
// instruction.
#include "attention_tc.cuh"

#if TENSOR_CORES
static constexpr u32 WARPS = 4, THREADS = WARPS * WARP, MT = 2, QUERIES = WARPS * MT * 16;
// Keys of a tile.
template <u32 D> static constexpr u32 TILE_KEYS = 4096 / D;

template <class S, u32 D> struct Shared {
    S queries[QUERIES * D], keys[TILE_KEYS<D> * D], values[TILE_KEYS<D> * D];
    u32 starts[WARPS];  // the first key that a query of each warp reads
};

template <class S, u32 D>
__device__ __forceinline__ void forward(S* y, f32* lse, const S* qkv, const S* keys, const S* values,
                                        const u32* first_key, const Problem& p) {
    typedef Shared<S, D> Memory;
    DYNAMIC_SHARED(Memory, memory);
    constexpr u32 KEYS = TILE_KEYS<D>;
    S *q_tile = memory->queries, *k_tile = memory->keys, *v_tile = memory->values;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const u32 per_head = (p.time + QUERIES - 1) / QUERIES, pair = blockIdx.x / per_head;
    const u32 query0 = (per_head - 1 - blockIdx.x % per_head) * QUERIES;
    const Head<S> head(p, pair, qkv, keys, values, first_key);
    const u32 queries = min(QUERIES, p.time - query0), end = p.past + query0 + queries;

    // A lane has rows g and g + 8 of each 16 of its warp. Rows that do not exist hide nothing.
    const u32 row0 = warp * MT * 16;
    u32 first[MT][2], lowest = end, highest = 0;
#pragma unroll
    for (u32 m = 0; m < MT; m++)
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            const u32 row = row0 + m * 16 + h * 8 + g;
            first[m][h] = row < queries ? head.first_key[query0 + row] : 0;
            highest = max(highest, first[m][h]);
            if (row < queries) lowest = min(lowest, first[m][h]);
        }
#pragma unroll
    for (u32 step = 16; step >= 4; step >>= 1) {
        lowest = min(lowest, __shfl_xor_sync(ALL_LANES, lowest, step));
        highest = max(highest, __shfl_xor_sync(ALL_LANES, highest, step));
    }
    if (lane == 0) memory->starts[warp] = lowest;
    __syncthreads();
    u32 start = end;
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) start = min(start, memory->starts[w]);
    start = start / 4 * 4;  // dropout draws for four keys at once

    copy_tile<QUERIES, D, THREADS>(q_tile, head.q + query0 * head.q_stride, head.q_stride, queries);
    copy_tile<KEYS, D, THREADS>(k_tile, head.k + start * head.kv_stride, head.kv_stride, end - start);

    const Scores score(p, head.head);
    const u64 coordinate = coordinate_of(p, head.sample, head.head);
    constexpr bool RESIDENT = D == 64;
    Rows<D, S> q_rows[MT];
    Resident<D> q_kept[MT];
    f32 sums[MT][2] = {}, maxima[MT][2], acc[MT][D / 8][4] = {};
#pragma unroll
    for (u32 m = 0; m < MT; m++) {
        q_rows[m] = {q_tile, row0 + m * 16};
        maxima[m][0] = maxima[m][1] = -infinity();
    }

    for (u32 key0 = start; key0 < end; key0 += KEYS) {
        copy_async_wait();
        __syncthreads();  // K is there, and nobody reads the last V any more
        copy_tile<KEYS, D, THREADS>(v_tile, head.v + key0 * head.kv_stride, head.kv_stride, end - key0);
        f32 s[MT][KEYS / 8][4] = {};
        if constexpr (RESIDENT) {
            if (key0 == start)
#pragma unroll
                for (u32 m = 0; m < MT; m++) q_kept[m].fill(q_rows[m]);
            products<S, D, KEYS, MT>(s, q_kept, k_tile);
        } else {
            products<S, D, KEYS, MT>(s, q_rows, k_tile);
        }

        u32 probs[MT][KEYS / 16][4];
        const bool masked = key0 < highest || key0 + KEYS > p.past + query0 + row0 + 1;
#pragma unroll
        for (u32 m = 0; m < MT; m++) {
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                // What depends on the launch or the tile alone is asked outside of the loops.
                const u32 place = p.past + query0 + row0 + m * 16 + h * 8 + g, key = key0 + 2 * t;
                auto each = [&](auto change) {
#pragma unroll
                    for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                        for (u32 e = 0; e < 2; e++) change(s[m][n][2 * h + e], 8 * n + e);
                };
                each([&](f32& x, u32) { x *= score.scale; });
                if (p.alibi) {
                    const f32 distance = (f32)((i32)key - (i32)place);
                    each([&](f32& x, u32 i) { x += score.slope * (distance + i); });
                }
                if (masked)
                    each([&](f32& x, u32 i) {
                        if (key + i < first[m][h] || key + i > place) x = -infinity();
                    });
                f32 largest = maxima[m][h];
                each([&](f32& x, u32) { largest = fmaxf(largest, x); });
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
                // A row of which nothing is visible yet has no maximum to subtract.
                const f32 shift = largest == -infinity() ? 0.0f : largest;
                const f32 rescale = exp2_fast(maxima[m][h] - shift);
                maxima[m][h] = largest;
                sums[m][h] *= rescale;
#pragma unroll
                for (u32 n = 0; n < D / 8; n++)
                    acc[m][n][2 * h] *= rescale, acc[m][n][2 * h + 1] *= rescale;
                each([&](f32& x, u32) {
                    x = exp2_fast(x - shift);
                    sums[m][h] += x;
                });
            }
            if (p.threshold)
#pragma unroll
                for (u32 n = 0; n < KEYS / 8; n++) {
                    const u32 query = query0 + row0 + m * 16;
                    const u32 keeps = keeps_by_query(p, coordinate, query, key0 + 8 * n);
#pragma unroll
                    for (u32 e = 0; e < 4; e++) s[m][n][e] *= keeps >> e & 1 ? p.keep_scale : 0.0f;
                }
            pack<S, KEYS>(probs[m], s[m]);
        }

        copy_async_wait();
        __syncthreads();  // V is there, and nobody reads this K any more
        const u32 next = key0 + KEYS;
        if (next < end)
            copy_tile<KEYS, D, THREADS>(k_tile, head.k + next * head.kv_stride, head.kv_stride, end - next);
        combine<S, D, KEYS, MT>(acc, probs, v_tile);
    }

    const u64 stride = (u64)p.heads * D;
    S* to = y + (head.sample * (u64)p.time + query0 + row0) * stride + head.head * D;
#pragma unroll
    for (u32 m = 0; m < MT; m++) {
        f32 inverse[2];
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            f32 sum = sums[m][h];
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            inverse[h] = 1.0f / sum;
            const u32 row = row0 + m * 16 + h * 8 + g;
            if (lse && t == 0 && row < queries)
                lse[pair * (u64)p.time + query0 + row] = maxima[m][h] * LN_2 + logf(sum);
        }
        const u32 before = row0 + m * 16, rows = queries > before ? queries - before : 0;
        write<S, D>(to + m * 16 * stride, stride, rows, acc[m], inverse[0], inverse[1], q_tile, before);
    }
}
#else
template <class S, u32 D>
__device__ void forward(S*, f32*, const S*, const S*, const S*, const u32*, const Problem&) {}
#endif

#define FORWARD(S, dims)                                                                        \
    KERNEL(128, attention_tc_forward_##dims##_##S)                                              \
    (S * y, f32 * lse, const S* qkv, const S* keys, const S* values, const u32* first_key,      \
     Problem p) {                                                                               \
        forward<S, dims>(y, lse, qkv, keys, values, first_key, p);                              \
    }
FORWARD(f16, 64)
FORWARD(f16, 128)
FORWARD(bf16, 64)
FORWARD(bf16, 128)
