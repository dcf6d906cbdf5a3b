// Causal attention, backward: the gradient of packed queries, keys and values, P recomputed from lse.
//
// dqkv and qkv are (batch, time, 3, heads, head_dim); y, dy (batch, time, heads·head_dim); lse, along
// (batch, heads, time) f32; first_key (batch, time). With D[i] = dy[i]·y[i], which `along` holds:
//
//   P = exp(score − lse)   dV = Pᵀ·dY   dS = P∘(dY·Vᵀ − D)   dK = scale·dSᵀ·Q   dQ = scale·dS·K
//
// Three kernels: `along`, a row pass; `keys`, where a block has 64 keys and walks over the queries
// that may read them; `queries`, the other way round. S and dY·Vᵀ are so computed twice, seven
// products instead of five, and nothing is ever summed by two blocks: no atomics, the same bits
// always. Products as in attention_forward.cu. `keys` holds two tiles of scores and two sums of
// vectors, so from head_dim 65 on 256 threads share them, 4 × 4 scores each.
#include "attention.cuh"

// D, a warp for each (position, head): 4·width bytes in f16 for each position.
template <class S>
__device__ __forceinline__ void along_y(f32* along, const S* y, const S* dy, u64 rows, u32 time, u32 heads,
                                        u32 head_dim) {
    const u64 row = (u64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    f32 sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < head_dim; i += WARP)
        sum += to_f32(y[row * head_dim + i]) * to_f32(dy[row * head_dim + i]);
    sum = warp_sum(sum);
    const u64 position = row / heads, sample = position / time;
    if (threadIdx.x % WARP == 0)
        along[(sample * heads + row % heads) * time + position % time] = sum;
}

// Takes what a tile of queries brings into shared memory: 0 where there is no query, which together
// with a first key beyond all makes P 0 there. Says, to every thread alike, whether one of them reads
// a key before `end`; a barrier.
template <u32 C, class S>
__device__ bool take(Tiles<C>& tiles, const BackwardHead<S>& head, u32 query0, u32 time, u32 end) {
    bool reads = false;
    if (threadIdx.x < TILE) {
        const u32 i = threadIdx.x, query = query0 + i;
        tiles.first[i] = query < time ? head.first_key[query] : ~0u;
        tiles.lse[i] = query < time ? head.lse[query] * LOG2_E : 0.0f;
        tiles.along[i] = query < time ? head.along[query] : 0.0f;
        reads = tiles.first[i] < end;
    }
    return __syncthreads_or(reads);
}

// From scores and dY·Vᵀ of one (query, key) to dropped P, and dS in place of dY·Vᵀ.
template <u32 C>
__device__ __forceinline__ void differentiate(f32& score, f32& dprob, const Tiles<C>& tiles,
                                              const Problem& p, u32 query, u32 key) {
    const f32 prob = exp2f(score - tiles.lse[query]);
    const f32 keep = p.threshold ? kept(tiles.keeps, p, query, key) : 1.0f;
    score = prob * keep;
    dprob = prob * (dprob * keep - tiles.along[query]);
}

// dK and dV of 64 keys. Rows of a tile are keys, columns queries.
template <class S, u32 C, u32 THREADS>
__device__ __forceinline__ void keys(S* dqkv, const S* qkv, const S* dy, const f32* lse,
                                     const f32* along, const u32* first_key, const Problem& p) {
    __shared__ Tiles<C> tiles;
    const Grid<THREADS> grid;
    constexpr u32 M = Grid<THREADS>::M;
    const u32 per_head = (p.time + TILE - 1) / TILE, key0 = blockIdx.x % per_head * TILE;
    const BackwardHead<S> head(p, blockIdx.x / per_head, qkv, dy, lse, along, first_key);
    const u32 own = min(TILE, p.time - key0);
    const Scores score(p, head.head);
    const u64 coordinate = coordinate_of(p, head.sample, head.head);

    f32 dk[M][4 * C] = {}, dv[M][4 * C] = {};
    for (u32 query0 = key0; query0 < p.time; query0 += TILE) {
        if (!take(tiles, head, query0, p.time, key0 + own)) continue;
        if (p.threshold) draw_keeps(tiles.keeps, p, coordinate, query0, key0);
        const u32 queries = min(TILE, p.time - query0);
        const S* q = head.q + query0 * head.q_stride;
        const S* dy_tile = head.dy + query0 * head.dy_stride;
        f32 probs[M][4] = {}, dprobs[M][4] = {};
        tiles.template products<THREADS>(probs, head.k + key0 * head.kv_stride, head.kv_stride, own, q,
                                         head.q_stride, queries, p.head_dim);
        tiles.template products<THREADS>(dprobs, head.v + key0 * head.kv_stride, head.kv_stride, own,
                                         dy_tile, head.dy_stride, queries, p.head_dim);
#pragma unroll
        for (u32 i = 0; i < M; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 key = grid.row(i), query = grid.col(j);
                probs[i][j] = score(probs[i][j], key0 + key, query0 + query, tiles.first[query]);
                differentiate(probs[i][j], dprobs[i][j], tiles, p, query, key);
            }
        tiles.template combine<THREADS>(dv, probs, dy_tile, head.dy_stride, queries, p.head_dim);
        tiles.template combine<THREADS>(dk, dprobs, q, head.q_stride, queries, p.head_dim);
    }
#pragma unroll
    for (u32 i = 0; i < M; i++) {
        if (grid.row(i) >= own) continue;
        const u64 row = head.start + (key0 + grid.row(i)) * head.q_stride, width = p.heads * p.head_dim;
        grid.template write<C>(dqkv + row + width, dk[i], p.scale, p.head_dim);
        grid.template write<C>(dqkv + row + 2 * width, dv[i], 1.0f, p.head_dim);
    }
}

// dQ of 64 queries. Rows of a tile are queries, columns keys.
template <class S, u32 C, u32 THREADS>
__device__ __forceinline__ void queries(S* dqkv, const S* qkv, const S* dy, const f32* lse,
                                        const f32* along, const u32* first_key, const Problem& p) {
    __shared__ Tiles<C> tiles;
    const Grid<THREADS> grid;
    constexpr u32 M = Grid<THREADS>::M;
    const u32 per_head = (p.time + TILE - 1) / TILE;
    const u32 query0 = (per_head - 1 - blockIdx.x % per_head) * TILE;
    const BackwardHead<S> head(p, blockIdx.x / per_head, qkv, dy, lse, along, first_key);
    const u32 own = min(TILE, p.time - query0), end = query0 + own;
    const Scores score(p, head.head);
    const u64 coordinate = coordinate_of(p, head.sample, head.head);

    take(tiles, head, query0, p.time, end);
    f32 dq[M][4 * C] = {};
    for (u32 key0 = tiles.start(end); key0 < end; key0 += TILE) {
        if (p.threshold) draw_keeps(tiles.keeps, p, coordinate, query0, key0);
        const S* k = head.k + key0 * head.kv_stride;
        f32 probs[M][4] = {}, dprobs[M][4] = {};
        tiles.template products<THREADS>(probs, head.q + query0 * head.q_stride, head.q_stride, own, k,
                                         head.kv_stride, end - key0, p.head_dim);
        tiles.template products<THREADS>(dprobs, head.dy + query0 * head.dy_stride, head.dy_stride, own,
                                         head.v + key0 * head.kv_stride, head.kv_stride, end - key0,
                                         p.head_dim);
#pragma unroll
        for (u32 i = 0; i < M; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 query = grid.row(i), key = grid.col(j);
                probs[i][j] = score(probs[i][j], key0 + key, query0 + query, tiles.first[query]);
                differentiate(probs[i][j], dprobs[i][j], tiles, p, query, key);
            }
        tiles.template combine<THREADS>(dq, dprobs, k, head.kv_stride, end - key0, p.head_dim);
    }
#pragma unroll
    for (u32 i = 0; i < M; i++) {
        if (grid.row(i) >= own) continue;
        S* to = dqkv + head.start + (query0 + grid.row(i)) * head.q_stride;
        grid.template write<C>(to, dq[i], p.scale, p.head_dim);
    }
}

#define ALONG(S)                                                                                  \
    KERNEL(256, attention_along_##S)                                                              \
    (f32 * along, const S* y, const S* dy, u64 rows, u32 time, u32 heads, u32 head_dim) {         \
        along_y(along, y, dy, rows, time, heads, head_dim);                                       \
    }
#define BACKWARD(what, S, dims, threads)                                                          \
    KERNEL(threads, attention_##what##_##dims##_##S)                                              \
    (S * dqkv, const S* qkv, const S* dy, const f32* lse, const f32* along, const u32* first_key, \
     Problem p) {                                                                                 \
        what<S, dims / 64, threads>(dqkv, qkv, dy, lse, along, first_key, p);                     \
    }
#define BACKWARDS(S)                                                                              \
    ALONG(S)                                                                                      \
    BACKWARD(keys, S, 64, 128) BACKWARD(keys, S, 128, 256) BACKWARD(keys, S, 256, 256)            \
    BACKWARD(queries, S, 64, 128) BACKWARD(queries, S, 128, 128) BACKWARD(queries, S, 256, 256)
BACKWARDS(f32)
BACKWARDS(f16)
BACKWARDS(bf16)
