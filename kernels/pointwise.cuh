// How kernels that treat each number by itself go over their numbers: eight at a time, in loads of
// sixteen bytes where addresses allow it. The type that stores floats is known at the launch only: a
// branch per eight numbers costs nothing beside their bytes, and one kernel serves every mixture.
#pragma once
#include "common.cuh"

static constexpr u32 THREADS = 256;
// Numbers that a thread has in hand at once.
static constexpr u32 PART = 8;

// As `crate::DType` counts them.
enum DType : u32 { F32, F16, BF16, U32 };

// Numbers of a float type, read or written. `src/ops/pointwise.rs` makes it of a tensor.
struct In {
    const void* at;
    u64 dtype;
};
struct Out {
    void* at;
    u64 dtype;
};

__device__ __forceinline__ u64 first_thread() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 all_threads() { return (u64)gridDim.x * blockDim.x; }

// How many numbers a part has that begins at `at` of n.
__device__ __forceinline__ u32 part_len(u64 at, u64 n) { return n - at < PART ? (u32)(n - at) : PART; }

// What is computed with: f32 for every float type, words as they are.
__device__ __forceinline__ f32 value(f32 x) { return x; }
__device__ __forceinline__ f32 value(f16 x) { return to_f32(x); }
__device__ __forceinline__ f32 value(bf16 x) { return to_f32(x); }
__device__ __forceinline__ u32 value(u32 x) { return x; }
__device__ __forceinline__ u16 value(u16 x) { return x; }
template <class T> __device__ __forceinline__ T stored(f32 x) { return from_f32<T>(x); }
template <class T> __device__ __forceinline__ T stored(u32 x) { return x; }
template <class T> __device__ __forceinline__ T stored(u16 x) { return x; }

// What one instruction moves of T: a part at most, and sixteen bytes at most.
template <class T> static constexpr u32 PACK = 16 / sizeof(T) < PART ? 16 / sizeof(T) : PART;
template <class T> __device__ __forceinline__ bool packed(const T* p, u32 count) {
    return count == PART && (u64)p % sizeof(Pack<T, PACK<T>>) == 0;
}

// values = `count` numbers from x on that lie `stride` apart; the rest is 0.
template <class V, class T>
__device__ __forceinline__ void load(V (&values)[PART], const T* x, u32 count, u64 stride = 1) {
    if (stride == 1 && packed(x, count)) {
        const auto* packs = reinterpret_cast<const Pack<T, PACK<T>>*>(x);
#pragma unroll
        for (u32 i = 0; i < PART; i += PACK<T>) {
            const auto pack = packs[i / PACK<T>];
#pragma unroll
            for (u32 j = 0; j < PACK<T>; j++) values[i + j] = value(pack.at[j]);
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < PART; i++) values[i] = i < count ? value(x[i * stride]) : V(0);
    }
}
__device__ __forceinline__ void load(
    f32 (&values)[PART], const In& x, u64 at, u32 count, u64 stride = 1) {
    if (x.dtype == F32)
        load(values, (const f32*)x.at + at, count, stride);
    else if (x.dtype == F16)
        load(values, (const f16*)x.at + at, count, stride);
    else
        load(values, (const bf16*)x.at + at, count, stride);
}

// `count` numbers from y on = values.
template <class V, class T>
__device__ __forceinline__ void store(T* y, const V (&values)[PART], u32 count) {
    if (packed(y, count)) {
        auto* packs = reinterpret_cast<Pack<T, PACK<T>>*>(y);
#pragma unroll
        for (u32 i = 0; i < PART; i += PACK<T>) {
            Pack<T, PACK<T>> pack;
#pragma unroll
            for (u32 j = 0; j < PACK<T>; j++) pack.at[j] = stored<T>(values[i + j]);
            packs[i / PACK<T>] = pack;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < PART; i++)
            if (i < count) y[i] = stored<T>(values[i]);
    }
}
__device__ __forceinline__ void store(const Out& y, const f32 (&values)[PART], u64 at, u32 count) {
    if (y.dtype == F32)
        store((f32*)y.at + at, values, count);
    else if (y.dtype == F16)
        store((f16*)y.at + at, values, count);
    else
        store((bf16*)y.at + at, values, count);
}

// sum = beta·sum + values, where a beta of 0 reads no sum.
__device__ __forceinline__ void add_to(
    const Out& sum, f32 beta, f32 (&values)[PART], u64 at, u32 count) {
    if (beta != 0.0f) {
        f32 before[PART];
        load(before, In{sum.at, sum.dtype}, at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) values[i] += beta * before[i];
    }
    store(sum, values, at, count);
}

// f(at, count) for every part of n numbers in a row.
template <class F> __device__ __forceinline__ void for_parts(u64 n, F f) {
    const u64 stride = all_threads() * PART;
    for (u64 at = first_thread() * PART; at < n; at += stride) f(at, part_len(at, n));
}

// The axes of an output, innermost first, and how far two operands' elements lie apart along them
// (`Walk` in src/ops/strides.rs). Axes that are missing have size 1.
struct Axis {
    u64 size, strides[2];
};
struct Walk {
    Axis axes[6];
};

// Where the operands have row `row` of the axes from `axis` on.
__device__ __forceinline__ void seek(const Walk& walk, u32 axis, u64 row, u64& i, u64& j) {
    for (; row > 0; axis++) {
        const u64 outer = row / walk.axes[axis].size, index = row - outer * walk.axes[axis].size;
        i += index * walk.axes[axis].strides[0];
        j += index * walk.axes[axis].strides[1];
        row = outer;
    }
}

// f(at, i, j, count) for every part of the innermost rows of n numbers: its place in the output, and
// where the operands begin.
template <class F> __device__ __forceinline__ void for_parts(const Walk& walk, u64 n, F f) {
    const u64 width = walk.axes[0].size, per_row = (width + PART - 1) / PART;
    const u64 parts = n / width * per_row;
    for (u64 part = first_thread(); part < parts; part += all_threads()) {
        const u64 row = part / per_row, column = (part - row * per_row) * PART;
        u64 i = column * walk.axes[0].strides[0], j = column * walk.axes[0].strides[1];
        seek(walk, 1, row, i, j);
        f(row * width + column, i, j, part_len(column, width));
    }
}
