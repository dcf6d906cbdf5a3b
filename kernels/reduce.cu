// Sums along an axis (`src/ops/reduce`).
//
//   x  (outer, n, inner)      y  (outer, parts, inner) = scale·Σ over each part of the axis
//
// Bytes: x is read once, y written once. A block has 256/lanes neighbouring results and `lanes` threads
// for each, so neighbouring threads read neighbouring numbers whether the axis is the last or not. Fast
// where results are few because the axis is then cut in parts, whose sums a second launch adds. Each
// thread's sum is compensated, so its error does not grow with the length; lanes meet in a tree.
#include "common.cuh"

static constexpr u32 THREADS = 256;

// A running sum that keeps what rounding takes from it (Kahan 1965).
struct Sum {
    f32 total, lost;

    __device__ __forceinline__ void add(f32 x) {
        const f32 whole = x - lost, next = total + whole;
        // An infinite sum stays infinite: ∞ − ∞ is no number.
        lost = fabsf(next) < infinity() ? (next - total) - whole : 0.0f;
        total = next;
    }
};

template <class X, class Y>
__device__ void sum(
    Y* y, const X* x, u64 results, u64 n, u64 inner, u32 parts, u64 part_len, u32 lanes, f32 scale) {
    __shared__ f32 sums[THREADS];
    const u32 per_block = THREADS / lanes;
    const u32 lane = threadIdx.x / per_block;
    const u64 result = (u64)blockIdx.x * per_block + threadIdx.x % per_block;
    Sum mine{};
    if (result < results) {
        const u64 column = result % inner, part = result / inner % parts, outer = result / inner / parts;
        const u64 start = part * part_len, end = start + part_len < n ? start + part_len : n;
        x += outer * n * inner + column;
#pragma unroll 4
        for (u64 i = start + lane; i < end; i += lanes) mine.add(to_f32(x[i * inner]));
    }
    sums[threadIdx.x] = mine.total;
    for (u32 half = THREADS / 2; half >= per_block; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    // The first of the lanes has added what this thread reads, itself.
    if (lane == 0 && result < results) y[result] = from_f32<Y>(scale * sums[threadIdx.x]);
}

#define SUM(X, Y)                                                                            \
    KERNEL(THREADS, reduce_sum_##X##_##Y)                                                    \
    (Y * y, const X* x, u64 results, u64 n, u64 inner, u32 parts, u64 part_len, u32 lanes,   \
     f32 scale) {                                                                            \
        sum(y, x, results, n, inner, parts, part_len, lanes, scale);                         \
    }

// In two launches the sums between them are f32.
SUM(f32, f32)
SUM(f32, f16)
SUM(f32, bf16)
SUM(f16, f32)
SUM(f16, f16)
SUM(bf16, f32)
SUM(bf16, bf16)
