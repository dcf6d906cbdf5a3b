// How kernels that treat each number by itself go over their numbers: sixteen bytes of the wider
// array at a time, in one load, where addresses allow it; else one by one.
#pragma once
#include "common.cuh"

static constexpr u32 THREADS = 256;

// The first number of this thread's part, and how far its next part lies ahead, for parts of N.
template <int N> __device__ __forceinline__ u64 first_part() {
    return ((u64)blockIdx.x * blockDim.x + threadIdx.x) * N;
}
template <int N> __device__ __forceinline__ u64 part_stride() {
    return (u64)gridDim.x * blockDim.x * N;
}

// Whether one instruction may move N elements at p. All parts of an array agree on it.
template <int N, class T> __device__ __forceinline__ bool aligned(const T* p) {
    return (u64)p % sizeof(Pack<T, N>) == 0;
}

// values = the first `count` of N elements at x; the rest is 0.
template <int N, class T>
__device__ __forceinline__ void load(f32 (&values)[N], const T* x, u32 count) {
    if (count == N && aligned<N>(x)) {
        const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(x);
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = to_f32(pack.at[i]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = (u32)i < count ? to_f32(x[i]) : 0.0f;
    }
}

// The first `count` of N elements at y = values.
template <int N, class T>
__device__ __forceinline__ void store(T* y, const f32 (&values)[N], u32 count) {
    if (count == N && aligned<N>(y)) {
        Pack<T, N> pack;
#pragma unroll
        for (int i = 0; i < N; i++) pack.at[i] = from_f32<T>(values[i]);
        *reinterpret_cast<Pack<T, N>*>(y) = pack;
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            if ((u32)i < count) y[i] = from_f32<T>(values[i]);
    }
}

// Toward zero, held to what u32 has; NaN is 0.
__device__ __forceinline__ u32 to_u32(f32 x) {
    return x > 0.0f ? (x < 4294967296.0f ? (u32)x : 0xffffffffu) : 0u;
}
