// What stands around the matrix product of a linear layer: bias and GELU, their gradients.
//
// linear_finish          u += bias, y = gelu(u)      reads u, writes u and y: 3 numbers moved for each
// linear_gradient        du *= gelu'(u)              reads du and u, writes du: 3 numbers
// linear_column_sums     sums = beta·sums + Σ_rows x reads x once: rows·width numbers
//
// All are bound by memory. A warp takes 512 bytes of a row, one 16-byte pack to a lane where rows are
// aligned to packs; the bias stays in registers while a warp goes down its rows. Column sums of
// many rows take two launches of one kernel: parts of the rows into f32 partial sums, which are the
// rows of the second launch. Both add in an order that depends on the shape alone.
#include "common.cuh"

static constexpr u32 THREADS = 256;
static constexpr u32 WARPS = THREADS / WARP;

// Elements in 16 bytes.
template <class T> static constexpr int PACK = 16 / sizeof(T);

template <class T> __device__ __forceinline__ bool aligned(const T* p) { return (u64)p % 16 == 0; }

// Whether every row of `width` begins at a multiple of 16 bytes.
template <class T> __device__ __forceinline__ bool packed_rows(const T* x, u32 width) {
    return aligned(x) && width % PACK<T> == 0;
}

// The j-th column of this lane in a tile of WARP·N columns.
template <int N> __device__ __forceinline__ u32 column(bool packed, int j) {
    const u32 lane = threadIdx.x % WARP;
    return packed ? lane * N + j : j * WARP + lane;
}

// This lane's columns of the tile of `row` that begins at `first`; 0 beyond the width.
template <class T, int N>
__device__ __forceinline__ void load(f32 (&x)[N], const T* row, u32 first, u32 width, bool packed) {
    if (packed) {
        Pack<T, N> pack{};
        const u32 at = first + column<N>(packed, 0);
        if (at < width) pack = *reinterpret_cast<const Pack<T, N>*>(row + at);
#pragma unroll
        for (int j = 0; j < N; j++) x[j] = to_f32(pack.at[j]);
    } else {
#pragma unroll
        for (int j = 0; j < N; j++) {
            const u32 at = first + column<N>(packed, j);
            x[j] = at < width ? to_f32(row[at]) : 0.0f;
        }
    }
}

template <class T, int N>
__device__ __forceinline__ void store(T* row, const f32 (&x)[N], u32 first, u32 width, bool packed) {
    if (packed) {
        Pack<T, N> pack;
#pragma unroll
        for (int j = 0; j < N; j++) pack.at[j] = from_f32<T>(x[j]);
        const u32 at = first + column<N>(packed, 0);
        if (at < width) *reinterpret_cast<Pack<T, N>*>(row + at) = pack;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++) {
            const u32 at = first + column<N>(packed, j);
            if (at < width) row[at] = from_f32<T>(x[j]);
        }
    }
}

struct Identity {
    static __device__ __forceinline__ f32 value(f32 u) { return u; }
};

// u·σ(2z) is 0.5·u·(1 + tanh z), without its cancellation where u is far below zero. The fast
// exponential is off by 2 + 1.2·|2z| units in the last place, where σ itself is as small as e^-|2z|.
struct GeluTanh {
    static constexpr f32 ROOT = 0.7978845608f;  // √(2/π)
    static constexpr f32 CUBIC = 0.044715f;
    static __device__ __forceinline__ f32 sigmoid(f32 u) {
        const f32 z = ROOT * (u + CUBIC * u * u * u);
        return __fdividef(1.0f, 1.0f + __expf(-2.0f * z));
    }
    static __device__ __forceinline__ f32 value(f32 u) { return u * sigmoid(u); }
    static __device__ __forceinline__ f32 slope(f32 u) {
        const f32 s = sigmoid(u), dz = ROOT * (1.0f + 3.0f * CUBIC * u * u);
        return s + u * s * (1.0f - s) * 2.0f * dz;
    }
};

// u·Φ(u), and Φ(u) + u·φ(u).
struct GeluErf {
    static __device__ __forceinline__ f32 cdf(f32 u) { return 0.5f + 0.5f * erff(u * 0.7071067812f); }
    static __device__ __forceinline__ f32 value(f32 u) { return u * cdf(u); }
    static __device__ __forceinline__ f32 slope(f32 u) {
        return cdf(u) + u * 0.3989422804f * __expf(-0.5f * u * u);
    }
};

// u and y are (rows, width), bias is (width); bias may be null, and y is for Identity.
template <class T, class A>
__device__ __forceinline__ void finish(T* y, T* u, const T* bias, u32 rows, u32 width) {
    constexpr int N = PACK<T>;
    const bool packed = packed_rows(u, width) && aligned(y) && aligned(bias);
    const u32 first = blockIdx.x * WARP * N, warp = threadIdx.x / WARP;
    f32 b[N] = {};
    if (bias) load(b, bias, first, width, packed);
    for (u64 row = blockIdx.y * WARPS + warp; row < rows; row += (u64)gridDim.y * WARPS) {
        f32 x[N];
        load(x, u + row * width, first, width, packed);
        if (bias) {
#pragma unroll
            for (int j = 0; j < N; j++) x[j] += b[j];
            store(u + row * width, x, first, width, packed);
        }
        if (y) {
#pragma unroll
            for (int j = 0; j < N; j++) x[j] = A::value(x[j]);
            store(y + row * width, x, first, width, packed);
        }
    }
}

// du and u are (n).
template <class T, class A> __device__ __forceinline__ void gradient(T* du, const T* u, u64 n) {
    constexpr int N = PACK<T>;
    const u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    const u64 threads = (u64)gridDim.x * blockDim.x;
    const u64 packs = aligned(du) && aligned(u) ? n / N : 0;
    for (u64 i = thread; i < packs; i += threads) {
        Pack<T, N> d = reinterpret_cast<Pack<T, N>*>(du)[i];
        const Pack<T, N> x = reinterpret_cast<const Pack<T, N>*>(u)[i];
#pragma unroll
        for (int j = 0; j < N; j++) d.at[j] = from_f32<T>(to_f32(d.at[j]) * A::slope(to_f32(x.at[j])));
        reinterpret_cast<Pack<T, N>*>(du)[i] = d;
    }
    for (u64 i = packs * N + thread; i < n; i += threads)
        du[i] = from_f32<T>(to_f32(du[i]) * A::slope(to_f32(u[i])));
}

// x is (rows, width); block (i, p) adds the p-th part of the rows, `part` of them, into row p of
// sums (parts, width). With beta 0 sums is not read.
template <class T, class S>
__device__ __forceinline__ void column_sums(S* sums, const T* x, u32 rows, u32 width, u32 part, f32 beta) {
    constexpr int N = PACK<T>;
    __shared__ f32 of_warp[WARPS][WARP * N];
    const bool packed = packed_rows(x, width);
    const u32 first = blockIdx.x * WARP * N, warp = threadIdx.x / WARP;
    const u64 begin = (u64)blockIdx.y * part, end = begin + part < rows ? begin + part : rows;
    f32 sum[N] = {};
#pragma unroll 4
    for (u64 row = begin + warp; row < end; row += WARPS) {
        f32 term[N];
        load(term, x + row * width, first, width, packed);
#pragma unroll
        for (int j = 0; j < N; j++) sum[j] += term[j];
    }
#pragma unroll
    for (int j = 0; j < N; j++) of_warp[warp][column<N>(packed, j)] = sum[j];
    __syncthreads();
    const u32 at = first + threadIdx.x;
    if (threadIdx.x >= WARP * N || at >= width) return;
    f32 total = 0.0f;
#pragma unroll
    for (u32 w = 0; w < WARPS; w++) total += of_warp[w][threadIdx.x];
    S* out = sums + (u64)blockIdx.y * width + at;
    *out = from_f32<S>(beta == 0.0f ? total : beta * to_f32(*out) + total);
}

#define FINISH(T, name, A)                                                                     \
    KERNEL(THREADS, linear_finish_##name##_##T)                                                \
    (T * y, T * u, const T* bias, u32 rows, u32 width) { finish<T, A>(y, u, bias, rows, width); }
#define GRADIENT(T, name, A)                       \
    KERNEL(THREADS, linear_gradient_##name##_##T)  \
    (T * du, const T* u, u64 n) { gradient<T, A>(du, u, n); }
#define FOR_EACH_DTYPE(T)            \
    FINISH(T, identity, Identity)    \
    FINISH(T, gelu_tanh, GeluTanh)   \
    FINISH(T, gelu_erf, GeluErf)     \
    GRADIENT(T, gelu_tanh, GeluTanh) \
    GRADIENT(T, gelu_erf, GeluErf)
FOR_EACH_DTYPE(f32)
FOR_EACH_DTYPE(f16)
FOR_EACH_DTYPE(bf16)

#define COLUMN_SUMS(T, S)                                                       \
    KERNEL(THREADS, linear_column_sums_##T##_##S)                               \
    (S * sums, const T* x, u32 rows, u32 width, u32 part, f32 beta) {           \
        column_sums<T, S>(sums, x, rows, width, part, beta);                    \
    }
COLUMN_SUMS(f32, f32)
COLUMN_SUMS(f16, f32)
COLUMN_SUMS(bf16, f32)
COLUMN_SUMS(f16, f16)
COLUMN_SUMS(bf16, bf16)
COLUMN_SUMS(f32, f16)
COLUMN_SUMS(f32, bf16)
