// Functions of one number, applied to each.
#include "pointwise.cuh"

// sum = beta·sum + x, where a beta of 0 reads no sum: what adds up the gradients of a tensor with
// several readers. Reads x and sum, writes sum.
template <class S, class X>
__device__ __forceinline__ void accumulate(S* sum, f32 beta, const X* x, u64 n) {
    constexpr int N = 4;
    for (u64 at = first_part<N>(); at < n; at += part_stride<N>()) {
        const u32 count = n - at < N ? (u32)(n - at) : N;
        f32 values[N];
        load(values, x + at, count);
        if (beta != 0.0f) {
            f32 before[N];
            load(before, sum + at, count);
#pragma unroll
            for (int i = 0; i < N; i++) values[i] += beta * before[i];
        }
        store(sum + at, values, count);
    }
}
#define ACCUMULATE(S, X)                                                                          \
    KERNEL(THREADS, elementwise_accumulate_##S##_##X)(S* sum, f32 beta, const X* x, u64 n) {       \
        accumulate(sum, beta, x, n);                                                               \
    }
ACCUMULATE(f32, f32)
ACCUMULATE(f32, f16)
ACCUMULATE(f32, bf16)
ACCUMULATE(f16, f32)
ACCUMULATE(f16, f16)
ACCUMULATE(f16, bf16)
ACCUMULATE(bf16, f32)
ACCUMULATE(bf16, f16)
ACCUMULATE(bf16, bf16)

// y = value everywhere. Writes y.
template <class T> __device__ __forceinline__ void fill(T* y, T value, u64 n) {
    for (u64 i = first_part<1>(); i < n; i += part_stride<1>()) y[i] = value;
}
#define FILL(T)                                                                                   \
    KERNEL(THREADS, elementwise_fill_##T)(T* y, f32 value, u64 n) { fill(y, from_f32<T>(value), n); }
FILL(f32)
FILL(f16)
FILL(bf16)
KERNEL(THREADS, elementwise_fill_u32)(u32* y, f32 value, u64 n) { fill(y, to_u32(value), n); }
