// Tiles of 16-bit vectors in shared memory, and products of them by tensor cores.
//
// A row has D numbers, 64 or 128, in chunks of 16 bytes; chunk c of row r stands at c ^ (r % 8), so
// that eight rows read at the same chunk, as ldmatrix does, lie in different banks.
#pragma once
#include "attention.cuh"
#include "tc.cuh"

#if TENSOR_CORES
template <u32 D, class S> __device__ __forceinline__ S* at(S* tile, u32 row, u32 col) {
    return tile + row * D + ((col / 8 ^ row % 8) * 8 + col % 8);
}

// Begins to copy a tile of ROWS vectors; zeros beyond `rows`.
template <u32 ROWS, u32 D, u32 THREADS, class S>
__device__ __forceinline__ void copy_tile(S* tile, const S* from, u64 stride, u32 rows) {
    const u32 col = threadIdx.x % (D / 8) * 8;
#pragma unroll 2
    for (u32 first = 0; first < ROWS; first += THREADS / (D / 8)) {
        const u32 row = first + threadIdx.x / (D / 8);
        const bool there = row < rows;
        copy_async(at<D>(tile, row, col), from + (there ? row * stride : 0) + col, there);
    }
}

// 16 rows of a tile as the left side of a product, 16 columns of it at a time.
template <u32 D, class S> struct Rows {
    const S* tile;
    u32 row0;
    __device__ __forceinline__ void load(u32 (&a)[4], u32 k) const {
        const u32 lane = threadIdx.x % WARP;
        load_matrices<false>(a, at<D>(tile, row0 + lane % 16, 16 * k + lane / 16 * 8));
    }
};

// The same, kept in registers.
template <u32 D> struct Resident {
    u32 fragments[D / 16][4];
    template <class S> __device__ __forceinline__ void fill(const Rows<D, S>& rows) {
#pragma unroll
        for (u32 k = 0; k < D / 16; k++) rows.load(fragments[k], k);
    }
    __device__ __forceinline__ void load(u32 (&a)[4], u32 k) const {
#pragma unroll
        for (u32 i = 0; i < 4; i++) a[i] = fragments[k][i];
    }
};

// acc += A·tileᵀ for MT times 16 rows A and the COLS vectors of a tile.
template <class S, u32 D, u32 COLS, u32 MT, class A>
__device__ __forceinline__ void products(f32 (&acc)[MT][COLS / 8][4], const A (&rows)[MT], const S* tile) {
    const u32 lane = threadIdx.x % WARP, row = lane % 8 + lane / 16 * 8, col = lane / 8 % 2 * 8;
#pragma unroll
    for (u32 k = 0; k < D / 16; k++) {
        u32 a[MT][4];
#pragma unroll
        for (u32 m = 0; m < MT; m++) rows[m].load(a[m], k);
#pragma unroll
        for (u32 n = 0; n < COLS / 16; n++) {
            u32 b[4];
            load_matrices<false>(b, at<D>(tile, 16 * n + row, 16 * k + col));
#pragma unroll
            for (u32 m = 0; m < MT; m++) {
                mma<S>(acc[m][2 * n], a[m], b[0], b[1]);
                mma<S>(acc[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// The sums of a product, rounded, as the left side of the next.
template <class S, u32 COLS>
__device__ __forceinline__ void pack(u32 (&to)[COLS / 16][4], const f32 (&from)[COLS / 8][4]) {
#pragma unroll
    for (u32 k = 0; k < COLS / 16; k++)
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const f32* pair = &from[2 * k + i / 2][i % 2 * 2];
            to[k][i] = packed<S>(pair[0], pair[1]);
        }
}

// acc += P·tile for MT times 16 rows of COLS weights and the COLS vectors of a tile.
template <class S, u32 D, u32 COLS, u32 MT>
__device__ __forceinline__ void combine(f32 (&acc)[MT][D / 8][4], const u32 (&p)[MT][COLS / 16][4],
                                        const S* tile) {
    const u32 lane = threadIdx.x % WARP, row = lane % 16, col = lane / 16 * 8;
#pragma unroll
    for (u32 k = 0; k < COLS / 16; k++)
#pragma unroll
        for (u32 n = 0; n < D / 16; n++) {
            u32 b[4];
            load_matrices<true>(b, at<D>(tile, 16 * k + row, 16 * n + col));
#pragma unroll
            for (u32 m = 0; m < MT; m++) {
                mma<S>(acc[m][2 * n], p[m][k], b[0], b[1]);
                mma<S>(acc[m][2 * n + 1], p[m][k], b[2], b[3]);
            }
        }
}

// Which of a lane's four numbers of a 16 × 8 tile of (query, key) dropout keeps, as bits. Each lane
// draws for four keys of one of the two rows that it shares with its neighbour.
__device__ __forceinline__ u32 keeps_by_query(const Problem& p, u64 coordinate, u32 query0, u32 key0) {
    const u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, odd = t % 2;
    const u32 own = keeps_of(p, coordinate, query0 + g + 8 * odd, key0 + t / 2 * 4);
    const u32 other = __shfl_xor_sync(ALL_LANES, own, 1);
    const u32 upper = odd ? other : own, lower = odd ? own : other;
    return (upper >> 2 * odd & 3) | (lower >> 2 * odd & 3) << 2;
}

// The same for a tile of (key, query): four lanes, whose rows are neighbouring keys, draw for one of
// the four numbers each.
__device__ __forceinline__ u32 keeps_by_key(const Problem& p, u64 coordinate, u32 query0, u32 key0) {
    const u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, i = g % 4;
    const u32 own = keeps_of(p, coordinate, query0 + 2 * t + i % 2, key0 + i / 2 * 8 + g / 4 * 4);
    u32 all = own << 4 * i, keeps = 0;
    all |= __shfl_xor_sync(ALL_LANES, all, 4);
    all |= __shfl_xor_sync(ALL_LANES, all, 8);
#pragma unroll
    for (u32 e = 0; e < 4; e++) keeps |= (all >> (4 * e + i) & 1) << e;
    return keeps;
}

// Writes 16 rows of factor·acc, row i at `to` + i·stride, as far as there are `rows`. They pass
// through rows of a tile that only this warp still uses, so that a lane stores 16 bytes.
template <class S, u32 D>
__device__ __forceinline__ void write(S* to, u64 stride, u32 rows, const f32 (&acc)[D / 8][4],
                                      f32 factor0, f32 factor8, S* tile, u32 row0) {
    const u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (u32 n = 0; n < D / 8; n++)
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            const f32 factor = h ? factor8 : factor0;
            *reinterpret_cast<u32*>(at<D>(tile, row0 + g + 8 * h, 8 * n + 2 * t)) =
                packed<S>(factor * acc[n][2 * h], factor * acc[n][2 * h + 1]);
        }
    __syncwarp();
    const u32 col = lane % (D / 8) * 8;
#pragma unroll
    for (u32 first = 0; first < 16; first += WARP / (D / 8)) {
        const u32 row = first + lane / (D / 8);
        if (row < rows)
            *reinterpret_cast<Pack<S, 8>*>(to + row * stride + col) =
                *reinterpret_cast<const Pack<S, 8>*>(at<D>(tile, row0 + row, col));
    }
}
#endif
