// The norm of all gradients, in two passes (`src/ops/grad_norm`).
//
//   grads  (n)      parts  (blocks of the first pass): f64 sums of squares      norm  ()
//
// Bytes: every gradient once, and it is as fast as memory. Four squares at a time are added in f32, what
// leaves a thread's loop in f64, at a rate that cards with few f64 units keep up with. The number of
// blocks comes from n alone, so the order of addition, and every bit, is the same on all cards. What is
// not finite stays so.
#include "common.cuh"

static constexpr u32 THREADS = 256;

// Given to thread 0.
__device__ __forceinline__ double block_total(double x) {
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = x;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    return sums[threadIdx.x];
}

KERNEL(THREADS, grad_norm_parts)(double* parts, const f32* grads, u64 n) {
    const Pack<f32, 4>* packs = reinterpret_cast<const Pack<f32, 4>*>(grads);
    const u64 first = (u64)blockIdx.x * THREADS + threadIdx.x, stride = (u64)gridDim.x * THREADS;
    double sum = 0.0;
#pragma unroll 4
    for (u64 i = first; i < n / 4; i += stride) {
        const Pack<f32, 4> g = packs[i];
        sum += g.at[0] * g.at[0] + g.at[1] * g.at[1] + (g.at[2] * g.at[2] + g.at[3] * g.at[3]);
    }
    if (first < n % 4) {
        const f32 g = grads[n / 4 * 4 + first];
        sum += g * g;
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block.
KERNEL(THREADS, grad_norm_total)(f32* norm, const double* parts, u32 count) {
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) sum += parts[i];
    sum = block_total(sum);
    if (threadIdx.x == 0) *norm = (f32)sqrt(sum);
}
