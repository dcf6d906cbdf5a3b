// Moving elements: permuting, cutting out, joining, stretching.
//
//   y[walk] = x[walk]        dx += dy in a part of its rows
//
// Each byte is read and written once. Elements are moved as words of their size.
#include "pointwise.cuh"

// y, x are what a walk of n elements reaches: strides[0] are x's, strides[1] y's, and y's innermost
// is 1. As fast as the memory where x's is 1 or 0 too.
template <class T> __device__ __forceinline__ void copy(T* y, const T* x, const Walk& walk, u64 n) {
    for_parts(walk, n, [&](u64, u64 from, u64 to, u32 count) {
        T elements[PART];
        load(elements, x + from, count, walk.axes[0].strides[0]);
        store(y + to, elements, count);
    });
}
#define COPY(T)                                                                                    \
    KERNEL(THREADS, layout_copy_##T)(T* y, const T* x, Walk walk, u64 n) { copy(y, x, walk, n); }
COPY(u16)
COPY(u32)

// The same where x steps along the innermost axis of y and has another innermost axis, axes[1]: a
// block turns tiles of 32 by 32 in shared memory, so that reads and writes are both of whole rows. A
// row of a tile is one element longer, and so its columns lie in different banks.
static constexpr u32 TILE = 32;
template <class T>
__device__ __forceinline__ void transpose(T* y, const T* x, const Walk& walk, u64 n) {
    __shared__ T tile[TILE][TILE + 1];
    const Axis &across = walk.axes[0], &down = walk.axes[1];
    const u64 columns = (across.size + TILE - 1) / TILE, rows = (down.size + TILE - 1) / TILE;
    const u64 tiles = n / (across.size * down.size) * rows * columns;
    const u32 lane = threadIdx.x % TILE;
    for (u64 at = blockIdx.x; at < tiles; at += gridDim.x) {
        const u64 column = at % columns * TILE, row = at / columns % rows * TILE;
        u64 from = column * across.strides[0] + row, to = row * down.strides[1] + column;
        seek(walk, 2, at / columns / rows, from, to);
        const u64 wide = across.size - column, high = down.size - row;
        for (u32 i = threadIdx.x / TILE; i < TILE && i < wide; i += THREADS / TILE)
            if (lane < high) tile[i][lane] = x[from + i * across.strides[0] + lane];
        __syncthreads();
        for (u32 i = threadIdx.x / TILE; i < TILE && i < high; i += THREADS / TILE)
            if (lane < wide) y[to + i * down.strides[1] + lane] = tile[lane][i];
        __syncthreads();
    }
}
#define TRANSPOSE(T)                                                                               \
    KERNEL(THREADS, layout_transpose_##T)(T* y, const T* x, Walk walk, u64 n) {                    \
        transpose(y, x, walk, n);                                                                  \
    }
TRANSPOSE(u16)
TRANSPOSE(u32)

// dx (rows, width) += dy (rows, len), in the places of each row that begin at `start`.
KERNEL(THREADS, layout_add_part)(Out dx, In dy, u64 rows, u64 width, u64 start, u64 len) {
    const u64 per_row = (len + PART - 1) / PART;
    for (u64 part = first_thread(); part < rows * per_row; part += all_threads()) {
        const u64 row = part / per_row, column = (part - row * per_row) * PART;
        const u32 count = part_len(column, len);
        f32 values[PART];
        load(values, dy, row * len + column, count);
        add_to(dx, 1.0f, values, row * width + start + column, count);
    }
}
