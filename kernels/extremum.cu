// Where along an axis the largest or the smallest number stands (`src/ops/extremum`).
//
//   x  (outer, n, inner), n ≥ 1      places  (outer, inner)
//
// Bytes: x is read once. A block has 256/lanes neighbouring results and `lanes` ≤ n threads for each,
// so neighbouring threads read neighbouring numbers whether the axis is the last or not. Of equals the
// first is taken, and NaN is beyond every number.
#include "common.cuh"

static constexpr u32 THREADS = 256;

template <bool LARGEST> struct Best {
    f32 value;
    u32 place;

    __device__ __forceinline__ bool beaten_by(f32 x) const {
        return (LARGEST ? x > value : x < value) || (x != x && value == value);
    }
    __device__ __forceinline__ void meet(const Best& other) {
        const bool beaten = beaten_by(other.value);
        if (beaten || (other.place < place && !other.beaten_by(value))) *this = other;
    }
};

template <class T, bool LARGEST>
__device__ void find(u32* places, const T* x, u64 results, u32 n, u64 inner, u32 lanes) {
    __shared__ Best<LARGEST> best[THREADS];
    const u32 per_block = THREADS / lanes;
    const u32 lane = threadIdx.x / per_block;
    const u64 result = (u64)blockIdx.x * per_block + threadIdx.x % per_block;
    Best<LARGEST> mine{0.0f, lane};
    if (result < results) {
        x += result / inner * n * inner + result % inner;
        mine.value = to_f32(x[lane * inner]);
        for (u64 i = lane + lanes; i < n; i += lanes) {
            const f32 at = to_f32(x[i * inner]);
            if (mine.beaten_by(at)) mine = {at, (u32)i};
        }
    }
    best[threadIdx.x] = mine;
    for (u32 half = THREADS / 2; half >= per_block; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) best[threadIdx.x].meet(best[threadIdx.x + half]);
    }
    if (lane == 0 && result < results) places[result] = best[threadIdx.x].place;
}

#define FIND(name, largest, T)                                                        \
    KERNEL(THREADS, extremum_##name##_##T)                                            \
    (u32 * places, const T* x, u64 results, u32 n, u64 inner, u32 lanes) {            \
        find<T, largest>(places, x, results, n, inner, lanes);                        \
    }

FIND(largest, true, f32)
FIND(largest, true, f16)
FIND(largest, true, bf16)
FIND(smallest, false, f32)
FIND(smallest, false, f16)
FIND(smallest, false, bf16)
