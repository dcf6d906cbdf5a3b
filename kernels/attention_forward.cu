// Causal attention, forward: y = softmax(scale·Q·Kᵀ + bias)·V, without the time × time matrix.
//
// y is (batch, time, heads·head_dim), lse (batch, heads, time) f32 or absent, qkv (batch, time, 3,
// heads, head_dim); keys and values point into qkv or into a cache; first_key is (batch, time).
//
// A block has 64 queries of one head and walks over tiles of 64 keys, from the first that one of its
// queries may read; the running maximum and sum of each row rescale what is summed so far (Dao et
// al., "FlashAttention", 2022, algorithm 1). It must read Q, K, V and write y once, 8·n bytes in f16
// for n = batch·time·heads·head_dim, against 2·time·n multiplications: arithmetic decides. 128
// threads hold 8 × 4 scores each: twelve 16-byte loads from shared memory feed 128 FMAs, which is
// what an SM of a P100 (64 FMAs and 128 bytes a clock) can serve with room to spare. Registers: 32
// scores, 8 rows of 16 bytes and 32 sums per 64 of head_dim; for 256, twice the threads share them.
// 170 to 242 on sm_60: two blocks an SM, as many as its shared memory holds.
// Q is staged anew for each key tile (from the L1 or L2 cache), which keeps a block at 28 KiB of
// shared memory for every head_dim. Blocks with most keys start first.
#include "attention.cuh"

template <class S, u32 C, u32 THREADS>
__device__ __forceinline__ void forward(S* y, f32* lse, const S* qkv, const S* keys, const S* values,
                                        const u32* first_key, const Problem& p) {
    __shared__ Tiles<C> tiles;
    const Grid<THREADS> grid;
    constexpr u32 M = Grid<THREADS>::M;
    const u32 per_head = (p.time + TILE - 1) / TILE, at = blockIdx.x / per_head;
    const u32 query0 = (per_head - 1 - blockIdx.x % per_head) * TILE;
    const Head<S> head(p, at, qkv, keys, values, first_key);
    const u32 queries = min(TILE, p.time - query0), end = p.past + query0 + queries;

    if (threadIdx.x < TILE)
        tiles.first[threadIdx.x] =
            threadIdx.x < queries ? head.first_key[query0 + threadIdx.x] : ~0u;
    __syncthreads();
    const Scores score(p, head.head);
    const u64 coordinate = coordinate_of(p, head.sample, head.head);
    f32 sums[M], maxima[M], acc[M][4 * C] = {};
#pragma unroll
    for (u32 i = 0; i < M; i++) sums[i] = 0.0f, maxima[i] = -infinity();

    for (u32 key0 = tiles.start(end); key0 < end; key0 += TILE) {
        if (p.threshold) draw_keeps(tiles.keeps, p, coordinate, query0, key0);
        f32 probs[M][4] = {};
        tiles.template products<THREADS>(probs, head.q + query0 * head.q_stride, head.q_stride, queries,
                                         head.k + key0 * head.kv_stride, head.kv_stride, end - key0,
                                         p.head_dim);
#pragma unroll
        for (u32 i = 0; i < M; i++) {
            const u32 row = grid.row(i), place = p.past + query0 + row, first = tiles.first[row];
            f32 largest = maxima[i];
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                probs[i][j] = score(probs[i][j], key0 + grid.col(j), place, first);
                largest = fmaxf(largest, probs[i][j]);
            }
#pragma unroll
            for (int step = 8; step > 0; step >>= 1)
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, step));
            // A row of which nothing is visible yet has no maximum to subtract.
            const f32 shift = largest == -infinity() ? 0.0f : largest;
            const f32 rescale = exp2f(maxima[i] - shift);
            maxima[i] = largest;
            sums[i] *= rescale;
#pragma unroll
            for (u32 e = 0; e < 4 * C; e++) acc[i][e] *= rescale;
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                probs[i][j] = exp2f(probs[i][j] - shift);
                sums[i] += probs[i][j];
                if (p.threshold) probs[i][j] *= kept(tiles.keeps, p, row, grid.col(j));
            }
        }
        tiles.template combine<THREADS>(acc, probs, head.v + key0 * head.kv_stride, head.kv_stride,
                                        end - key0, p.head_dim);
    }
#pragma unroll
    for (u32 i = 0; i < M; i++) {
        f32 sum = sums[i];
#pragma unroll
        for (int step = 8; step > 0; step >>= 1) sum += __shfl_xor_sync(ALL_LANES, sum, step);
        const u32 row = grid.row(i);
        if (row >= queries) continue;
        const u64 position = head.sample * (u64)p.time + query0 + row;
        grid.template write<C>(y + (position * p.heads + head.head) * p.head_dim, acc[i], 1.0f / sum,
                               p.head_dim);
        if (lse && grid.x == 0) lse[at * (u64)p.time + query0 + row] = maxima[i] * LN_2 + logf(sum);
    }
}

#define FORWARD(S, dims, threads)                                                               \
    KERNEL(threads, attention_forward_##dims##_##S)                                             \
    (S * y, f32 * lse, const S* qkv, const S* keys, const S* values, const u32* first_key,      \
     Problem p) {                                                                               \
        forward<S, dims / 64, threads>(y, lse, qkv, keys, values, first_key, p);                \
    }
#define FORWARDS(S) FORWARD(S, 64, 128) FORWARD(S, 128, 128) FORWARD(S, 256, 256)
FORWARDS(f32)
FORWARDS(f16)
FORWARDS(bf16)
