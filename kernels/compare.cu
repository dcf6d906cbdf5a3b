// Comparisons under broadcasting, and the choice between two arrays by their outcome.
//
//   y = a ∘ b ? 1 : 0        y = mask ≠ 0 ? a : b
//
// A comparison's y is (n) and its operands are read by a walk; a choice's arrays are all (n). Each byte
// moves once: the speed is the memory's.
#include "pointwise.cuh"

template <class C>
__device__ __forceinline__ void compare(
    u32* y, const In& a, const In& b, const Walk& walk, u64 n) {
    for_parts(walk, n, [&](u64 at, u64 i, u64 j, u32 count) {
        f32 left[PART], right[PART];
        load(left, a, i, count, walk.axes[0].strides[0]);
        load(right, b, j, count, walk.axes[0].strides[1]);
        u32 outcome[PART];
#pragma unroll
        for (u32 k = 0; k < PART; k++) outcome[k] = C::holds(left[k], right[k]);
        store(y + at, outcome, count);
    });
}

// Ids as integers: an f32 would hold neighbours as one.
template <class C>
__device__ __forceinline__ void compare(
    u32* y, const u32* a, const u32* b, const Walk& walk, u64 n) {
    for_parts(walk, n, [&](u64 at, u64 i, u64 j, u32 count) {
        u32 left[PART], right[PART];
        load(left, a + i, count, walk.axes[0].strides[0]);
        load(right, b + j, count, walk.axes[0].strides[1]);
#pragma unroll
        for (u32 k = 0; k < PART; k++) left[k] = C::holds(left[k], right[k]);
        store(y + at, left, count);
    });
}

// One row per comparison: its name and when it holds.
#define COMPARISON(name, HOLDS)                                                                    \
    struct name##_holds {                                                                          \
        template <class V> static __device__ __forceinline__ u32 holds(V a, V b) { return HOLDS; } \
    };                                                                                             \
    KERNEL(THREADS, compare_##name)(u32* y, In a, In b, Walk walk, u64 n) {                        \
        compare<name##_holds>(y, a, b, walk, n);                                                   \
    }                                                                                              \
    KERNEL(THREADS, compare_##name##_u32)(u32* y, const u32* a, const u32* b, Walk walk, u64 n) {  \
        compare<name##_holds>(y, a, b, walk, n);                                                   \
    }

// clang-format off
COMPARISON(eq, a == b)
COMPARISON(ne, a != b)
COMPARISON(lt, a < b)
COMPARISON(le, a <= b)
COMPARISON(gt, a > b)
COMPARISON(ge, a >= b)
// clang-format on

// Elements are moved as they are, so that only their size matters.
template <class T>
__device__ __forceinline__ void select(T* y, const u32* mask, const T* a, const T* b, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        u32 chosen[PART];
        T left[PART], right[PART];
        load(chosen, mask + at, count);
        load(left, a + at, count);
        load(right, b + at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) left[i] = chosen[i] != 0 ? left[i] : right[i];
        store(y + at, left, count);
    });
}
#define SELECT(T)                                                                                  \
    KERNEL(THREADS, compare_select_##T)(T* y, const u32* mask, const T* a, const T* b, u64 n) {    \
        select(y, mask, a, b, n);                                                                  \
    }
SELECT(u16)
SELECT(u32)
