// What the attention kernels share: a problem's sizes, a score's bound and bias, dropout, and tiles.
//
// Queries, keys and values are read where they lie, in [batch, time, 3, heads, head_dim] or in a
// cache [batch, heads, capacity, head_dim]; two strides tell which. Without tensor cores a product
// of tiles is made by registers: 16 threads stand along a row of 64 and each holds `M` rows by 4
// columns, so that four floats from shared memory feed 4·M multiplications or more.
#pragma once
#include "philox.cuh"

static constexpr f32 LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

// Queries and keys of a tile.
static constexpr u32 TILE = 64;
// Numbers of a head that a product of two tiles takes at once, and the pitch of their rows: sixteen
// rows, read four floats at a time, then lie in different banks.
static constexpr u32 DEPTH = 32, PITCH = DEPTH + 4;
static constexpr u32 PROBS_PITCH = TILE + 4;

// One launch: what `Problem` in src/ops/attention/cuda.rs says.
struct Problem {
    // Strides of keys and values, in elements: from one sample, head and position to the next.
    u64 kv_sample, kv_head, kv_position;
    Draw draw;
    u64 first_sample;
    u32 time, past, heads, head_dim;
    f32 scale;
    u32 alibi;
    // Words below this are dropped, the rest scaled; nothing is drawn when it is 0.
    u32 threshold;
    f32 keep_scale;
};

// One head of one sample, and where its rows begin. `at` counts heads, sample by sample.
template <class S> struct Head {
    const S *q, *k, *v;
    u64 q_stride, kv_stride;
    const u32* first_key;
    u32 sample, head;

    __device__ Head(const Problem& p, u32 at, const S* qkv, const S* keys, const S* values,
                    const u32* first) {
        sample = at / p.heads;
        head = at % p.heads;
        const u64 width = (u64)p.heads * p.head_dim;
        q_stride = 3 * width;
        kv_stride = p.kv_position;
        q = qkv + sample * (u64)p.time * q_stride + head * p.head_dim;
        const u64 start = sample * p.kv_sample + head * p.kv_head;
        k = keys + start;
        v = values + start;
        first_key = first + sample * (u64)p.time;
    }
};

// A head, with what its forward left and the gradient that arrives.
template <class S> struct BackwardHead : Head<S> {
    const S* dy;
    const f32 *lse, *along;
    u64 dy_stride, start;  // `start`: of the head's queries in dqkv

    __device__ BackwardHead(const Problem& p, u32 at, const S* qkv, const S* dy_all, const f32* lse_all,
                        const f32* along_all, const u32* first)
        : Head<S>(p, at, qkv, qkv + p.heads * p.head_dim, qkv + 2 * p.heads * p.head_dim, first) {
        dy_stride = (u64)p.heads * p.head_dim;
        dy = dy_all + this->sample * (u64)p.time * dy_stride + this->head * p.head_dim;
        lse = lse_all + at * (u64)p.time;
        along = along_all + at * (u64)p.time;
        start = this->q - qkv;
    }
};

// ALiBi's slope: Press et al., "Train Short, Test Long" (2022), and `build_alibi_tensor` of
// `transformers` where the number of heads is no power of two.
__device__ __forceinline__ f32 alibi_slope(u32 head, u32 heads) {
    const u32 power = 1u << (31 - __clz((int)heads));
    const f32 halves = head < power ? 2.0f * (head + 1) : 2.0f * (head - power) + 1.0f;
    return exp2f(-4.0f * halves / power);
}

// From q·k to a score in base 2, −∞ where the query may not read the key.
struct Scores {
    f32 scale, slope;
    __device__ Scores(const Problem& p, u32 head)
        : scale(p.scale * LOG2_E), slope(p.alibi ? alibi_slope(head, p.heads) * LOG2_E : 0.0f) {}
    __device__ f32 operator()(f32 dot, u32 key, u32 place, u32 first) const {
        const bool visible = key >= first && key <= place;
        return visible ? dot * scale + slope * (f32)((i32)key - (i32)place) : -infinity();
    }
};

// Whether each of four neighbouring keys is kept, as bits; `key` is a multiple of four.
__device__ __forceinline__ u32 keeps_of(const Problem& p, u64 coordinate, u32 query, u32 key) {
    u32 words[4], bits = 0;
    philox(p.draw, coordinate | (u64)query << 20 | key, words);
#pragma unroll
    for (int i = 0; i < 4; i++) bits |= (u32)(words[i] >= p.threshold) << i;
    return bits;
}
// The upper 24 bits of a head's coordinates.
__device__ __forceinline__ u64 coordinate_of(const Problem& p, u32 sample, u32 head) {
    return ((p.first_sample + sample) * p.heads + head) << 40;
}

// The keeps of a tile: bit key % 16 of [query][key / 16].
typedef u16 Keeps[TILE][TILE / 16];

__device__ __forceinline__ void draw_keeps(Keeps& keeps, const Problem& p, u64 coordinate, u32 query0,
                                           u32 key0) {
    for (u32 i = threadIdx.x; i < TILE * TILE / 16; i += blockDim.x) {
        const u32 query = i / (TILE / 16), group = i % (TILE / 16);
        u32 bits = 0;
#pragma unroll 1
        for (u32 key = 0; key < 16; key += 4)
            bits |= keeps_of(p, coordinate, query0 + query, key0 + 16 * group + key) << key;
        keeps[query][group] = (u16)bits;
    }
}

// The factor that dropout gives to a probability of the tile.
__device__ __forceinline__ f32 kept(const Keeps& keeps, const Problem& p, u32 query, u32 key) {
    return keeps[query][key / 16] >> key % 16 & 1 ? p.keep_scale : 0.0f;
}

// Copies a piece [ROWS, COLS] of a matrix into shared memory as f32, 0 beyond its `rows` and `cols`.
// Four numbers travel at once where their address allows it.
template <u32 ROWS, u32 COLS, u32 THREADS, class S>
__device__ __forceinline__ void stage(f32* to, u32 pitch, const S* from, u64 stride, u32 rows,
                                      u32 cols) {
    constexpr u32 PACKS = ROWS * COLS / 4 / THREADS;
    Pack<S, 4> x[PACKS];
    const bool packed = (((u64)from | stride * sizeof(S)) & (sizeof(x[0]) - 1)) == 0 && cols % 4 == 0;
#pragma unroll
    for (u32 n = 0; n < PACKS; n++) {
        const u32 unit = threadIdx.x + n * THREADS, row = unit / (COLS / 4), col = unit % (COLS / 4) * 4;
        const S* source = from + row * stride + col;
        if (packed && row < rows && col < cols) {
            x[n] = *reinterpret_cast<const Pack<S, 4>*>(source);
        } else {
#pragma unroll
            for (u32 i = 0; i < 4; i++)
                x[n].at[i] = row < rows && col + i < cols ? source[i] : from_f32<S>(0.0f);
        }
    }
#pragma unroll
    for (u32 n = 0; n < PACKS; n++) {
        const u32 unit = threadIdx.x + n * THREADS, row = unit / (COLS / 4), col = unit % (COLS / 4) * 4;
        Pack<f32, 4> y;
#pragma unroll
        for (int i = 0; i < 4; i++) y.at[i] = to_f32(x[n].at[i]);
        *reinterpret_cast<Pack<f32, 4>*>(to + row * pitch + col) = y;
    }
}

// A block's threads as a grid of THREADS / 16 rows by 16 columns. Thread (y, x) has the rows
// y + i·(THREADS / 16) of every tile; of a tile of scores the columns x + 16·j, of a head's vectors
// the columns 4·x + 64·c and the three after.
template <u32 THREADS> struct Grid {
    static constexpr u32 STEP = THREADS / 16, M = TILE / STEP;
    u32 x = threadIdx.x % 16, y = threadIdx.x / 16;

    __device__ u32 row(u32 i) const { return y + i * STEP; }
    __device__ u32 col(u32 j) const { return x + j * 16; }

    // acc += A·Bᵀ for tiles A and B, [TILE, DEPTH] at PITCH.
    __device__ __forceinline__ void multiply(f32 (&acc)[M][4], const f32* a, const f32* b) const {
#pragma unroll 1
        for (u32 d = 0; d < DEPTH; d += 4) {
            Pack<f32, 4> rows[M];
#pragma unroll
            for (u32 i = 0; i < M; i++)
                rows[i] = *reinterpret_cast<const Pack<f32, 4>*>(a + row(i) * PITCH + d);
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const auto other = *reinterpret_cast<const Pack<f32, 4>*>(b + col(j) * PITCH + d);
#pragma unroll
                for (u32 i = 0; i < M; i++)
#pragma unroll
                    for (u32 n = 0; n < 4; n++) acc[i][j] += rows[i].at[n] * other.at[n];
            }
        }
    }

    // acc += P·slab for P [TILE, ROWS] at PROBS_PITCH and a slab [ROWS, 64·C].
    template <u32 C, u32 ROWS>
    __device__ __forceinline__ void multiply_slab(f32 (&acc)[M][4 * C], const f32* p,
                                                  const f32* slab) const {
#pragma unroll 1
        for (u32 k = 0; k < ROWS; k += 4) {
            Pack<f32, 4> rows[M];
#pragma unroll
            for (u32 i = 0; i < M; i++)
                rows[i] = *reinterpret_cast<const Pack<f32, 4>*>(p + row(i) * PROBS_PITCH + k);
#pragma unroll
            for (u32 n = 0; n < 4; n++)
#pragma unroll
                for (u32 c = 0; c < C; c++) {
                    const auto other = *reinterpret_cast<const Pack<f32, 4>*>(
                        slab + ((k + n) * C + c) * 64 + 4 * x);
#pragma unroll
                    for (u32 i = 0; i < M; i++)
#pragma unroll
                        for (u32 e = 0; e < 4; e++) acc[i][4 * c + e] += rows[i].at[n] * other.at[e];
                }
        }
    }

    // Writes row i's columns, factor·acc, to `to` [head_dim].
    template <u32 C, class S>
    __device__ __forceinline__ void write(S* to, const f32 (&acc)[4 * C], f32 factor,
                                          u32 head_dim) const {
        const bool packed = ((u64)to & (4 * sizeof(S) - 1)) == 0 && head_dim % 4 == 0;
#pragma unroll
        for (u32 c = 0; c < C; c++) {
            const u32 col = 4 * x + 64 * c;
            Pack<S, 4> out;
#pragma unroll
            for (u32 e = 0; e < 4; e++) out.at[e] = from_f32<S>(factor * acc[4 * c + e]);
            if (packed && col < head_dim) {
                *reinterpret_cast<Pack<S, 4>*>(to + col) = out;
            } else {
#pragma unroll
                for (u32 e = 0; e < 4; e++)
                    if (col + e < head_dim) to[col + e] = out.at[e];
            }
        }
    }
};

// The shared memory of a block: 28 KiB, so that two blocks fit the 64 KiB of a P100.
template <u32 C> struct alignas(16) Tiles {
    // Rows of vectors [64·C] that the second product takes at once.
    static constexpr u32 SLAB = 2048 / (64 * C);
    // Two tiles of vectors, or a tile of probabilities.
    f32 pair[2 * TILE * PITCH];
    f32 slab[SLAB * 64 * C];
    Keeps keeps;
    f32 lse[TILE], along[TILE];
    u32 first[TILE];

    // Where the keys begin that one of the tile's queries reads; a multiple of four, as dropout
    // draws for four keys at once.
    __device__ __forceinline__ u32 start(u32 end) const {
        for (u32 i = 0; i < TILE; i++) end = min(end, first[i]);
        return end / 4 * 4;
    }

    // acc += A·Bᵀ, over the whole head_dim: rows a0.. of A and b0.. of B, as far as they go.
    template <u32 THREADS, class S>
    __device__ __forceinline__ void products(f32 (&acc)[TILE * 16 / THREADS][4], const S* a, u64 a_stride,
                                             u32 a_rows, const S* b, u64 b_stride, u32 b_rows,
                                             u32 head_dim) {
        for (u32 d = 0; d < head_dim; d += DEPTH) {
            f32* other = pair + TILE * PITCH;
            stage<TILE, DEPTH, THREADS>(pair, PITCH, a + d, a_stride, a_rows, head_dim - d);
            stage<TILE, DEPTH, THREADS>(other, PITCH, b + d, b_stride, b_rows, head_dim - d);
            __syncthreads();
            Grid<THREADS>().multiply(acc, pair, other);
            __syncthreads();
        }
    }

    // acc += P·V for the probabilities (or their gradients) in registers, which `pair` takes.
    template <u32 THREADS, class S>
    __device__ __forceinline__ void combine(f32 (&acc)[TILE * 16 / THREADS][4 * C],
                                            const f32 (&probs)[TILE * 16 / THREADS][4], const S* v,
                                            u64 stride, u32 rows, u32 head_dim) {
        const Grid<THREADS> grid;
#pragma unroll
        for (u32 i = 0; i < grid.M; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++) pair[grid.row(i) * PROBS_PITCH + grid.col(j)] = probs[i][j];
        for (u32 k = 0; k < TILE; k += SLAB) {
            const u32 left = rows > k ? rows - k : 0;
            stage<SLAB, 64 * C, THREADS>(slab, 64 * C, v + k * stride, stride, left, head_dim);
            __syncthreads();
            grid.template multiply_slab<C, SLAB>(acc, pair + k, slab);
            __syncthreads();
        }
    }
};
