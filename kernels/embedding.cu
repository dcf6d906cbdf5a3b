// Rows of a table of tokens plus rows of a table of positions (`src/ops/embedding`).
//
//   y  (rows, width) f32      tokens  (vocab, width)      positions  (places, width), or null
//   ids, at  (rows)
//
// Bytes: per row, one row of each table and one row of y; the tables are read nowhere else. A block has
// one row, and a warp reads 128 consecutive bytes at least. The gradient is index_select's: index.cu.
#include "common.cuh"

// `V` columns from j on.
template <int V, class T>
__device__ __forceinline__ void add(f32 (&sum)[V], const T* row, u32 j) {
    const Pack<T, V> x = *reinterpret_cast<const Pack<T, V>*>(row + j);
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] += to_f32(x.at[k]);
}

template <int V, class T>
__device__ __forceinline__ void copy_row(f32* y, const T* token, const T* position, u32 width, f32 start) {
    for (u32 j = threadIdx.x * V; j < width; j += blockDim.x * V) {
        f32 sum[V];
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] = start;
        if (token) add<V>(sum, token, j);
        if (position) add<V>(sum, position, j);
        Pack<f32, V> packed;
#pragma unroll
        for (int k = 0; k < V; k++) packed.at[k] = sum[k];
        *reinterpret_cast<Pack<f32, V>*>(y + j) = packed;
    }
}

template <class T>
__device__ __forceinline__ void forward(
    f32* y, const T* tokens, const u32* ids, u32 vocab, const T* positions, const u32* at, u32 places,
    u32 width) {
    const u64 row = blockIdx.x;
    const u32 id = ids[row], place = positions ? at[row] : 0;
    // An id beyond its table names no row: it gives NaN, which no loss hides.
    const bool known = id < vocab && (!positions || place < places);
    const T* token = known ? tokens + (u64)id * width : nullptr;
    const T* position = known && positions ? positions + (u64)place * width : nullptr;
    const f32 start = known ? 0.0f : __int_as_float(0x7fffffff);
    const u64 begins = reinterpret_cast<u64>(tokens) | reinterpret_cast<u64>(positions);
    if (width % 4 == 0 && begins % sizeof(Pack<T, 4>) == 0)
        copy_row<4>(y + row * width, token, position, width, start);
    else
        copy_row<1>(y + row * width, token, position, width, start);
}

#define EMBEDDING(T)                                                                              \
    KERNEL(256, embedding_forward_##T)(                                                           \
        f32* y, const T* tokens, const u32* ids, u32 vocab, const T* positions, const u32* at,    \
        u32 places, u32 width) {                                                                  \
        forward(y, tokens, ids, vocab, positions, at, places, width);                             \
    }
EMBEDDING(f32)
EMBEDDING(f16)
EMBEDDING(bf16)
