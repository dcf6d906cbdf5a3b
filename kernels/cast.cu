// The same numbers in another type.
//
//   y = x
//
// Both are (n). To a 16-bit float the nearest, ties to even; to u32 toward zero, held to what u32 has
// (NaN is 0), and u32 to a float the nearest. Each byte moves once: the speed is the memory's.
#include "pointwise.cuh"

KERNEL(THREADS, cast_floats)(Out y, In x, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        f32 values[PART];
        load(values, x, at, count);
        store(y, values, at, count);
    });
}

KERNEL(THREADS, cast_from_u32)(Out y, const u32* x, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        u32 ids[PART];
        f32 values[PART];
        load(ids, x + at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) values[i] = (f32)ids[i];
        store(y, values, at, count);
    });
}

KERNEL(THREADS, cast_to_u32)(u32* y, In x, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        f32 values[PART];
        u32 ids[PART];
        load(values, x, at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) {
            const f32 v = values[i];
            ids[i] = v > 0.0f ? (v < 4294967296.0f ? (u32)v : 0xffffffffu) : 0;
        }
        store(y + at, ids, count);
    });
}
