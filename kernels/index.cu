// Reading at ids, and the sums of the gradients that meet there (`src/ops/index`).
//
//   x, dx  (outer, n, inner)      y, dy  (outer, count, inner)
//   ids  (count) for select, (outer, count, inner) for gather
//   keys  (places): a place of dy below the id that it goes to, 64 bits      partial  (2·chunks, columns)
//
// Bytes: reading moves y twice and the ids. The gradient reads dy once, and reads and writes the part of
// dx that ids name; beside it, sorting the keys is little work and 1/16 of dy goes through `partial`.
//
// Gradients are added without atomics, in the order of places whatever the ids are. Keys are all
// different, so any sort of them is stable: tiles are sorted by counting smaller keys, then merged by
// looking up each key in the other run. A thread then walks one column down a chunk of the sorted places
// and writes a sum where the id changes; runs of equal ids that leave their chunk are added up last, from
// one sum per chunk. So a batch of one token only is spread over the card like any other. The gradient of
// gather is that of a select from single elements.
#include "common.cuh"

static constexpr u32 THREADS = 256;
// Sorted places of one walk, and how many of them are loaded before they are added.
static constexpr u32 CHUNK = 32, GROUP = 8;
// The destination of an id beyond its axis: none has it.
static constexpr u32 NOWHERE = 0xffffffffu;

__device__ __forceinline__ u64 first_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 grid_size() { return (u64)gridDim.x * blockDim.x; }

// An id beyond its axis gives all ones, NaN in every float type. W is an integer of the element's size.
template <class W>
__device__ __forceinline__ void select(
    W* y, const W* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    for (u64 e = first_index(); e < total; e += grid_size()) {
        const u64 row = e / inner;
        const u32 id = ids[row % count];
        y[e] = id < n ? x[(row / count * n + id) * inner + e % inner] : (W)NOWHERE;
    }
}
KERNEL(THREADS, index_select_2)
(u16* y, const u16* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    select(y, x, ids, n, count, inner, total);
}
KERNEL(THREADS, index_select_4)
(u32* y, const u32* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    select(y, x, ids, n, count, inner, total);
}

template <class W>
__device__ __forceinline__ void gather(
    W* y, const W* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    for (u64 e = first_index(); e < total; e += grid_size()) {
        const u32 id = ids[e];
        y[e] = id < n ? x[(e / inner / count * n + id) * inner + e % inner] : (W)NOWHERE;
    }
}
KERNEL(THREADS, index_gather_2)
(u16* y, const u16* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    gather(y, x, ids, n, count, inner, total);
}
KERNEL(THREADS, index_gather_4)
(u32* y, const u32* x, const u32* ids, u32 n, u64 count, u64 inner, u64 total) {
    gather(y, x, ids, n, count, inner, total);
}

// Keys of `places` ids, each block's sorted. A destination is the flat place in dx of a gradient that
// goes to one element: for a select, whose gradients are whole slices, n rows of it (inner 1).
KERNEL(THREADS, index_sort_tiles)
(u64* keys, const u32* ids, u32 n, u64 count, u64 inner, u32 places) {
    __shared__ u64 tile[THREADS];
    const u64 place = first_index();
    const u32 held = min(THREADS, places - blockIdx.x * THREADS);
    u64 key = 0;
    if (place < places) {
        const u32 id = ids[place];
        const u64 to = id < n ? (place / inner / count * n + id) * inner + place % inner : NOWHERE;
        key = to << 32 | place;
        tile[threadIdx.x] = key;
    }
    __syncthreads();
    if (place >= places) return;
    u32 smaller = 0;
    for (u32 i = 0; i < held; i++) smaller += tile[i] < key;
    keys[blockIdx.x * THREADS + smaller] = key;
}

// Every two runs of `length` sorted keys become one of twice that.
KERNEL(THREADS, index_merge)(u64* to, const u64* from, u32 length, u32 places) {
    const u64 at = first_index();
    if (at >= places) return;
    const u64 key = from[at], run = at / length;
    // The keys of the other run that are smaller lie between `low` and where it begins.
    const u64 other = min((run ^ 1) * length, (u64)places), end = min(other + length, (u64)places);
    u64 low = other, high = end;
    while (low < high) {
        const u64 middle = (low + high) / 2;
        if (from[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    to[run / 2 * 2 * length + (at - run * length) + (low - other)] = key;
}

__device__ __forceinline__ u32 destination(u64 key) { return (u32)(key >> 32); }

// dx += the sums of runs within a chunk. Of a run that goes on in other chunks, the sum is left in
// `partial`: in the chunk's first row if the run began before it, otherwise in its second.
template <class X, class Y>
__device__ __forceinline__ void add_runs(
    X* dx, f32* partial, const u64* keys, const Y* dy, u32 n, u32 places, u64 inner, u64 columns) {
    const u64 begin = (u64)blockIdx.x * CHUNK, end = min(begin + CHUNK, (u64)places);
    partial += 2 * blockIdx.x * columns;
    for (u64 column = (u64)blockIdx.y * blockDim.x + threadIdx.x; column < columns;
         column += (u64)gridDim.y * blockDim.x) {
        const u64 outer = column / inner, j = column % inner;
        X* to = dx + outer * n * inner + j;
        const Y* from = dy + outer * places * inner + j;
        u32 id = destination(keys[begin]);
        bool begun = begin > 0 && destination(keys[begin - 1]) == id;
        f32 sum = 0.0f;
        auto close = [&] {
            if (begun)
                partial[column] = sum;
            else if (id < n)
                to[id * inner] = from_f32<X>(to_f32(to[id * inner]) + sum);
        };
        for (u64 group = begin; group < end; group += GROUP) {
            u32 ids[GROUP];
            f32 terms[GROUP];
#pragma unroll
            for (u32 k = 0; k < GROUP; k++) {
                if (group + k >= end) continue;
                const u64 key = keys[group + k];
                ids[k] = destination(key);
                terms[k] = to_f32(from[(key & 0xffffffffu) * inner]);
            }
#pragma unroll
            for (u32 k = 0; k < GROUP; k++) {
                if (group + k >= end) continue;
                if (ids[k] != id) {
                    close();
                    id = ids[k], begun = false, sum = 0.0f;
                }
                sum += terms[k];
            }
        }
        if (!begun && end < places && destination(keys[end]) == id)
            partial[columns + column] = sum;
        else
            close();
    }
}

// dx += the sums of the runs that begin in this chunk and go on in others.
template <class X>
__device__ __forceinline__ void join_runs(
    X* dx, const f32* partial, const u64* keys, u32 n, u32 places, u64 inner, u64 columns) {
    const u64 begin = (u64)blockIdx.x * CHUNK, end = begin + CHUNK;
    if (end >= places) return;
    const u32 id = destination(keys[end - 1]);
    const bool goes_on = destination(keys[end]) == id;
    const bool begun = begin > 0 && destination(keys[begin - 1]) == id;
    if (!goes_on || begun || id >= n) return;
    u64 low = end, high = places;  // the end of the run
    while (low < high) {
        const u64 middle = (low + high) / 2;
        if (destination(keys[middle]) == id)
            low = middle + 1;
        else
            high = middle;
    }
    const u64 last = (low - 1) / CHUNK;
    for (u64 column = (u64)blockIdx.y * blockDim.x + threadIdx.x; column < columns;
         column += (u64)gridDim.y * blockDim.x) {
        f32 sum = partial[(2 * blockIdx.x + 1) * columns + column];
#pragma unroll 8
        for (u64 chunk = blockIdx.x + 1; chunk <= last; chunk++) sum += partial[2 * chunk * columns + column];
        X* to = dx + (column / inner * n + id) * inner + column % inner;
        *to = from_f32<X>(to_f32(*to) + sum);
    }
}

#define ADD_RUNS(X, Y)                                                                             \
    KERNEL(THREADS, index_add_runs_##X##_##Y)(                                                     \
        X* dx, f32* partial, const u64* keys, const Y* dy, u32 n, u32 places, u64 inner,           \
        u64 columns) {                                                                             \
        add_runs(dx, partial, keys, dy, n, places, inner, columns);                                \
    }
ADD_RUNS(f32, f32)
ADD_RUNS(f32, f16)
ADD_RUNS(f32, bf16)
ADD_RUNS(f16, f16)
ADD_RUNS(f16, f32)
ADD_RUNS(bf16, bf16)
ADD_RUNS(bf16, f32)

#define JOIN_RUNS(X)                                                                               \
    KERNEL(THREADS, index_join_runs_##X)(                                                          \
        X* dx, const f32* partial, const u64* keys, u32 n, u32 places, u64 inner, u64 columns) {   \
        join_runs(dx, partial, keys, n, places, inner, columns);                                   \
    }
JOIN_RUNS(f32)
JOIN_RUNS(f16)
JOIN_RUNS(bf16)
