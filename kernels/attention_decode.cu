// Attention for a few new positions over a cache of keys and values, and P for those who look at it.
//
// keys and values are (rows, heads, capacity, head_dim), qkv (rows, time, 3, heads, head_dim), y
// (rows, time, heads·head_dim). Nothing is reused, so it costs the bytes of the keys and values read,
// 4·len·head_dim a head in f16. A block of 128 threads takes one query and a part of its keys; LANES
// threads read a key together, 8 numbers each, and each such group has four keys under way, which
// keeps 8 KiB of loads in flight per block. A long cache is cut into `splits` parts, that a small
// batch fills the card too; `merge` then weighs the parts against each other, in their order ("Flash
// decoding", Dao et al., 2023).
#include "attention.cuh"

static constexpr u32 THREADS = 128, EACH = 8, AHEAD = 4;

// Copies the new keys and values behind the `past` ones; a block for each (row, position).
template <class S>
__device__ __forceinline__ void append(S* keys, S* values, const S* qkv, const Problem& p) {
    const u32 row = blockIdx.x / p.time, position = blockIdx.x % p.time, width = p.heads * p.head_dim;
    const S* from = qkv + (u64)blockIdx.x * 3 * width;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        const u64 to = row * p.kv_sample + i / p.head_dim * p.kv_head +
                       (p.past + position) * p.kv_position + i % p.head_dim;
        keys[to] = from[width + i];
        values[to] = from[2 * width + i];
    }
}

// EACH numbers of a vector from `at` on, 0 beyond its end.
template <class S> __device__ __forceinline__ void load(f32 (&x)[EACH], const S* vector, u32 at, u32 len) {
    typedef Pack<S, 4> Four;
    if (((u64)vector & (sizeof(Four) - 1)) == 0 && at + EACH <= len) {
#pragma unroll
        for (u32 i = 0; i < EACH; i += 4) {
            const Four four = *reinterpret_cast<const Four*>(vector + at + i);
#pragma unroll
            for (u32 n = 0; n < 4; n++) x[i + n] = to_f32(four.at[n]);
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < EACH; i++) x[i] = at + i < len ? to_f32(vector[at + i]) : 0.0f;
    }
}

// A part of the keys of one query: y where it is the only part; otherwise the sums to `sums`
// (queries, splits, head_dim), each part's maximum and sum of weights to `weights` (queries, splits, 2).
template <class S, u32 LANES>
__device__ __forceinline__ void decode(S* y, f32* sums, f32* weights, const S* qkv, const S* keys,
                                       const S* values, const u32* first_key, const Problem& p,
                                       u32 splits) {
    constexpr u32 GROUPS = THREADS / LANES;
    __shared__ f32 maxima[GROUPS], totals[GROUPS], parts[GROUPS][LANES * EACH];
    // Queries are counted position by position of each head.
    const u32 split = blockIdx.x % splits, at = blockIdx.x / splits, query = at % p.time;
    const Head<S> head(p, at / p.time, qkv, keys, values, first_key);
    const u32 group = threadIdx.x / LANES, from = threadIdx.x % LANES * EACH;
    const u32 place = p.past + query, first = head.first_key[query];
    const u32 len = first <= place ? place + 1 - first : 0, each = (len + splits - 1) / splits;
    const u32 begin = first + min(len, split * each), end = min(place + 1, begin + each);
    const Scores score(p, head.head);

    f32 q[EACH], acc[EACH] = {}, largest = -infinity(), total = 0.0f;
    load(q, head.q + query * head.q_stride, from, p.head_dim);
    for (u32 key0 = begin; key0 < end; key0 += AHEAD * GROUPS) {
        f32 k[AHEAD][EACH], v[AHEAD][EACH], s[AHEAD], before = largest;
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) {
            // Beyond the end, the last key again, with the weight 0.
            const u64 key = min(key0 + n * GROUPS + group, end - 1);
            load(k[n], head.k + key * head.kv_stride, from, p.head_dim);
            load(v[n], head.v + key * head.kv_stride, from, p.head_dim);
        }
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) {
            const u32 key = key0 + n * GROUPS + group;
            s[n] = 0.0f;
#pragma unroll
            for (u32 i = 0; i < EACH; i++) s[n] += q[i] * k[n][i];
#pragma unroll
            for (u32 step = LANES / 2; step > 0; step >>= 1)
                s[n] += __shfl_xor_sync(ALL_LANES, s[n], step);
            s[n] = key < end ? score(s[n], key, place, first) : -infinity();
            largest = fmaxf(largest, s[n]);
        }
        // A group that has seen no key yet has no maximum to subtract.
        const f32 shift = largest == -infinity() ? 0.0f : largest, rescale = exp2f(before - shift);
        total *= rescale;
#pragma unroll
        for (u32 i = 0; i < EACH; i++) acc[i] *= rescale;
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) {
            const f32 weight = exp2f(s[n] - shift);
            total += weight;
#pragma unroll
            for (u32 i = 0; i < EACH; i++) acc[i] += weight * v[n][i];
        }
    }
#pragma unroll
    for (u32 i = 0; i < EACH; i++) parts[group][from + i] = acc[i];
    if (from == 0) maxima[group] = largest, totals[group] = total;
    __syncthreads();

    largest = -infinity(), total = 0.0f;
    for (u32 g = 0; g < GROUPS; g++) largest = fmaxf(largest, maxima[g]);
    const f32 shift = largest == -infinity() ? 0.0f : largest;
    for (u32 g = 0; g < GROUPS; g++) total += totals[g] * exp2f(maxima[g] - shift);
    const u64 part = (u64)at * splits + split;
    for (u32 i = threadIdx.x; i < p.head_dim; i += THREADS) {
        f32 sum = 0.0f;
        for (u32 g = 0; g < GROUPS; g++) sum += parts[g][i] * exp2f(maxima[g] - shift);
        if (splits > 1)
            sums[part * p.head_dim + i] = sum;
        else
            y[((head.sample * (u64)p.time + query) * p.heads + head.head) * p.head_dim + i] =
                from_f32<S>(sum / total);
    }
    if (splits > 1 && threadIdx.x == 0) weights[2 * part] = largest, weights[2 * part + 1] = total;
}

// y from the parts of each query; a block for each.
template <class S>
__device__ __forceinline__ void merge(S* y, const f32* sums, const f32* weights, const Problem& p,
                                      u32 splits) {
    const u32 at = blockIdx.x, query = at % p.time, head = at / p.time % p.heads;
    const u64 sample = at / p.time / p.heads, part = (u64)at * splits;
    f32 largest = -infinity(), total = 0.0f;
    for (u32 n = 0; n < splits; n++) largest = fmaxf(largest, weights[2 * (part + n)]);
    for (u32 n = 0; n < splits; n++)
        total += weights[2 * (part + n) + 1] * exp2f(weights[2 * (part + n)] - largest);
    for (u32 i = threadIdx.x; i < p.head_dim; i += blockDim.x) {
        f32 sum = 0.0f;
        for (u32 n = 0; n < splits; n++)
            sum += sums[(part + n) * p.head_dim + i] * exp2f(weights[2 * (part + n)] - largest);
        y[((sample * p.time + query) * p.heads + head) * p.head_dim + i] = from_f32<S>(sum / total);
    }
}

// P of one query, a row of (batch, heads, time, time), 0 where it does not read; a block for each.
template <class S>
__device__ __forceinline__ void probs(f32* out, const S* qkv, const S* keys, const u32* first_key,
                                      const Problem& p) {
    __shared__ f32 scratch[WARP];
    const u32 query = blockIdx.x % p.time, lane = threadIdx.x % WARP;
    const Head<S> head(p, blockIdx.x / p.time, qkv, keys, keys, first_key);
    const Scores score(p, head.head);
    const u32 first = head.first_key[query];
    f32* row = out + (u64)blockIdx.x * p.time;

    f32 largest = -infinity();
    for (u32 key = threadIdx.x / WARP; key < p.time; key += blockDim.x / WARP) {
        f32 dot = 0.0f;
        for (u32 i = lane; i < p.head_dim; i += WARP)
            dot += to_f32(head.q[query * head.q_stride + i]) * to_f32(head.k[key * head.kv_stride + i]);
        const f32 s = score(warp_sum(dot), key, query, first);
        if (lane == 0) row[key] = s;
        largest = fmaxf(largest, s);
    }
    largest = block_max(largest, scratch);
    f32 total = 0.0f;
    for (u32 key = threadIdx.x; key < p.time; key += blockDim.x) total += exp2f(row[key] - largest);
    total = block_sum(total, scratch);
    for (u32 key = threadIdx.x; key < p.time; key += blockDim.x)
        row[key] = exp2f(row[key] - largest) / total;
}

#define DECODE(S, dims, lanes)                                                                    \
    KERNEL(THREADS, attention_decode_##dims##_##S)                                                \
    (S * y, f32 * sums, f32 * weights, const S* qkv, const S* keys, const S* values,              \
     const u32* first_key, Problem p, u32 splits) {                                               \
        decode<S, lanes>(y, sums, weights, qkv, keys, values, first_key, p, splits);              \
    }
#define DECODES(S)                                                                                \
    KERNEL(256, attention_append_##S)(S * keys, S * values, const S* qkv, Problem p) {            \
        append(keys, values, qkv, p);                                                             \
    }                                                                                             \
    DECODE(S, 64, 8) DECODE(S, 128, 16) DECODE(S, 256, 32)                                        \
    KERNEL(64, attention_merge_##S)                                                               \
    (S * y, const f32* sums, const f32* weights, Problem p, u32 splits) {                         \
        merge(y, sums, weights, p, splits);                                                       \
    }                                                                                             \
    KERNEL(256, attention_probs_##S)                                                              \
    (f32 * out, const S* qkv, const S* keys, const u32* first_key, Problem p) {                   \
        probs(out, qkv, keys, first_key, p);                                                      \
    }
DECODES(f32)
DECODES(f16)
DECODES(bf16)
