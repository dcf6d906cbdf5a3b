// Layer norm of rows, alone and with the residual sum before it; its gradients (`src/ops/layer_norm`).
//
//   x, delta, sum, y, dy, dx  (rows, width)      weight, bias  (width)
//   stats  (rows, 2): mean and 1/sqrt(variance + eps)
//   partial  (parts, 2, width): sums over a part of the rows of dy·x̂, then of dy
//
// Bytes: every input is read once and every output written once; the two gradients of the parameters
// read dy and x once more. Fast because a row stays in registers between its sums and its outputs, up
// to 4096 numbers, moved four at a time; the variance is that of the centred row, not Σx² − μ². Rows
// that are wider or not aligned are read again instead, mostly from the cache.
#include "common.cuh"

// Numbers of a row that one thread keeps.
static constexpr u32 HELD = 16;
static constexpr u32 THREADS = 256;
// Columns and lanes of a block that adds parts.
static constexpr u32 COLUMNS = 32, LANES = THREADS / COLUMNS;

template <int V, class T> __device__ __forceinline__ Pack<f32, V> load(const T* from) {
    const Pack<T, V> stored = *reinterpret_cast<const Pack<T, V>*>(from);
    Pack<f32, V> x;
#pragma unroll
    for (int v = 0; v < V; v++) x.at[v] = to_f32(stored.at[v]);
    return x;
}
template <int V, class T> __device__ __forceinline__ void store(T* to, const Pack<f32, V>& x) {
    Pack<T, V> stored;
#pragma unroll
    for (int v = 0; v < V; v++) stored.at[v] = from_f32<T>(x.at[v]);
    *reinterpret_cast<Pack<T, V>*>(to) = stored;
}

// Whether every row of this array begins where a pack may.
template <int V, class T> __device__ __forceinline__ bool aligned(const T* array) {
    return reinterpret_cast<u64>(array) % (V * sizeof(T)) == 0;
}

// A row, dealt to the threads of a block in packs of V: `each` hands over what `load(i)` gave for the
// packs of this thread, loaded once and held in registers, or loaded every time.
template <class Item, int V, bool IN_REGISTERS> struct Row;

template <class Item, int V> struct Row<Item, V, true> {
    Item items[HELD / V];
    u32 width;

    template <class Load> __device__ __forceinline__ Row(u32 width, Load load) : width(width) {
#pragma unroll
        for (u32 p = 0; p < HELD / V; p++) {
            const u32 i = (p * blockDim.x + threadIdx.x) * V;
            if (i < width) items[p] = load(i);
        }
    }
    template <class Load, class F> __device__ __forceinline__ void each(Load, F f) {
#pragma unroll
        for (u32 p = 0; p < HELD / V; p++) {
            const u32 i = (p * blockDim.x + threadIdx.x) * V;
            if (i < width) f(i, items[p]);
        }
    }
};

template <class Item, int V> struct Row<Item, V, false> {
    u32 width;

    template <class Load> __device__ __forceinline__ Row(u32 width, Load) : width(width) {}
    template <class Load, class F> __device__ __forceinline__ void each(Load load, F f) {
        for (u32 i = threadIdx.x * V; i < width; i += blockDim.x * V) f(i, load(i));
    }
};

template <int V, bool IN_REGISTERS, class W, class Load>
__device__ __forceinline__ void normalise(
    W* y, f32* stats, const W* weight, const W* bias, u32 width, f32 eps, Load load_row) {
    __shared__ f32 scratch[WARP];
    using Item = Pack<f32, V>;
    Row<Item, V, IN_REGISTERS> row(width, load_row);
    f32 sum = 0.0f;
    row.each(load_row, [&](u32, const Item& x) {
#pragma unroll
        for (int v = 0; v < V; v++) sum += x.at[v];
    });
    const f32 mean = block_sum(sum, scratch) / (f32)width;
    f32 squares = 0.0f;
    row.each(load_row, [&](u32, const Item& x) {
#pragma unroll
        for (int v = 0; v < V; v++) squares += (x.at[v] - mean) * (x.at[v] - mean);
    });
    const f32 rstd = 1.0f / sqrtf(block_sum(squares, scratch) / (f32)width + eps);
    row.each(load_row, [&](u32 i, const Item& x) {
        const Item w = load<V>(weight + i), b = load<V>(bias + i);
        Item normed;
#pragma unroll
        for (int v = 0; v < V; v++) normed.at[v] = (x.at[v] - mean) * rstd * w.at[v] + b.at[v];
        store<V>(y + i, normed);
    });
    if (threadIdx.x == 0) stats[0] = mean, stats[1] = rstd;
}

// A block for each row, of one to eight warps.
template <class X, class W>
__device__ void forward(
    W* y, f32* stats, const X* x, const W* weight, const W* bias, u32 width, f32 eps) {
    const u64 at = (u64)blockIdx.x * width;
    x += at, y += at, stats += 2 * (u64)blockIdx.x;
    if (width % 4 == 0 && width <= HELD * blockDim.x && aligned<4>(x) && aligned<4>(y) &&
        aligned<4>(weight) && aligned<4>(bias))
        normalise<4, true>(y, stats, weight, bias, width, eps, [=](u32 i) { return load<4>(x + i); });
    else
        normalise<1, false>(y, stats, weight, bias, width, eps, [=](u32 i) { return load<1>(x + i); });
}

// sum = x + delta first; what is normalised is the sum as it is stored.
template <class X, class D, class W>
__device__ void residual_forward(
    X* sum, W* y, f32* stats, const X* x, const D* delta, const W* weight, const W* bias, u32 width,
    f32 eps) {
    const u64 at = (u64)blockIdx.x * width;
    x += at, delta += at, sum += at, y += at, stats += 2 * (u64)blockIdx.x;
    if (width % 4 == 0 && width <= HELD * blockDim.x && aligned<4>(x) && aligned<4>(delta) &&
        aligned<4>(sum) && aligned<4>(y) && aligned<4>(weight) && aligned<4>(bias)) {
        normalise<4, true>(y, stats, weight, bias, width, eps, [=](u32 i) {
            Pack<f32, 4> row = load<4>(x + i);
            const Pack<f32, 4> added = load<4>(delta + i);
#pragma unroll
            for (int v = 0; v < 4; v++) row.at[v] = rounded<X>(row.at[v] + added.at[v]);
            store<4>(sum + i, row);
            return row;
        });
    } else {
        // Each thread reads back only what it wrote itself.
        for (u32 i = threadIdx.x; i < width; i += blockDim.x)
            sum[i] = from_f32<X>(to_f32(x[i]) + to_f32(delta[i]));
        normalise<1, false>(y, stats, weight, bias, width, eps, [=](u32 i) { return load<1>(sum + i); });
    }
}

// What one number of a row brings to the gradient: dy·weight, and itself normalised.
template <int V> struct Through {
    Pack<f32, V> g, normed;
};

template <int V, bool IN_REGISTERS, class X, class W, class DX>
__device__ __forceinline__ void row_dx(
    DX* dx, f32 beta, const W* dy, const X* x, const W* weight, const f32* stats, u32 width) {
    __shared__ f32 scratch[WARP];
    const f32 mean = stats[0], rstd = stats[1];
    auto load_row = [=](u32 i) {
        Through<V> row{load<V>(dy + i), load<V>(x + i)};
        const Pack<f32, V> w = load<V>(weight + i);
#pragma unroll
        for (int v = 0; v < V; v++) {
            row.g.at[v] *= w.at[v];
            row.normed.at[v] = (row.normed.at[v] - mean) * rstd;
        }
        return row;
    };
    Row<Through<V>, V, IN_REGISTERS> row(width, load_row);
    f32 sum_g = 0.0f, sum_gx = 0.0f;
    row.each(load_row, [&](u32, const Through<V>& at) {
#pragma unroll
        for (int v = 0; v < V; v++) {
            sum_g += at.g.at[v];
            sum_gx += at.g.at[v] * at.normed.at[v];
        }
    });
    const f32 mean_g = block_sum(sum_g, scratch) / (f32)width;
    const f32 mean_gx = block_sum(sum_gx, scratch) / (f32)width;
    row.each(load_row, [&](u32 i, const Through<V>& at) {
        Pack<f32, V> out = {};
        if (beta != 0.0f) out = load<V>(dx + i);
#pragma unroll
        for (int v = 0; v < V; v++)
            out.at[v] = beta * out.at[v] + (at.g.at[v] - mean_g - at.normed.at[v] * mean_gx) * rstd;
        store<V>(dx + i, out);
    });
}

// dx = beta·dx + (g − mean(g) − x̂·mean(g·x̂))·rstd; a block for each row.
template <class X, class W, class DX>
__device__ void add_dx(
    DX* dx, f32 beta, const W* dy, const X* x, const W* weight, const f32* stats, u32 width) {
    const u64 at = (u64)blockIdx.x * width;
    dx += at, dy += at, x += at, stats += 2 * (u64)blockIdx.x;
    if (width % 4 == 0 && width <= HELD * blockDim.x && aligned<4>(dx) && aligned<4>(dy) &&
        aligned<4>(x) && aligned<4>(weight))
        row_dx<4, true>(dx, beta, dy, x, weight, stats, width);
    else
        row_dx<1, false>(dx, beta, dy, x, weight, stats, width);
}

// The first of two passes for dweight and dbias: block (part, tile of columns), a column per thread.
template <class X, class W>
__device__ void partial_sums(
    f32* partial, const W* dy, const X* x, const f32* stats, u32 rows, u32 width, u32 rows_per_part) {
    const u32 column = blockIdx.y * THREADS + threadIdx.x;
    if (column >= width) return;
    const u32 start = blockIdx.x * rows_per_part;
    const u32 end = rows - start < rows_per_part ? rows : start + rows_per_part;
    f32 dweight = 0.0f, dbias = 0.0f;
#pragma unroll 4
    for (u32 row = start; row < end; row++) {
        const u64 at = (u64)row * width + column;
        const f32 g = to_f32(dy[at]);
        dweight += g * ((to_f32(x[at]) - stats[2 * (u64)row]) * stats[2 * (u64)row + 1]);
        dbias += g;
    }
    f32* sums = partial + 2 * (u64)blockIdx.x * width + column;
    sums[0] = dweight;
    sums[width] = dbias;
}

// The second: sum = beta·sum + Σ parts, of dweight (`which` is 0) or dbias (1). A block has 32 columns
// and 8 lanes that share the parts.
template <class T>
__device__ void add_parts(T* sum, f32 beta, const f32* partial, u32 which, u32 parts, u32 width) {
    __shared__ f32 sums[LANES][COLUMNS];
    const u32 lane = threadIdx.x / COLUMNS, place = threadIdx.x % COLUMNS;
    const u32 column = blockIdx.x * COLUMNS + place;
    f32 mine = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (u32 part = lane; part < parts; part += LANES)
            mine += partial[(2 * (u64)part + which) * width + column];
    }
    sums[lane][place] = mine;
    __syncthreads();
    if (lane > 0 || column >= width) return;
    for (u32 other = 1; other < LANES; other++) mine += sums[other][place];
    sum[column] = from_f32<T>(beta == 0.0f ? mine : beta * to_f32(sum[column]) + mine);
}

#define FORWARD(X, W)                                                                             \
    KERNEL(THREADS, layer_norm_forward_##X##_##W)                                                 \
    (W * y, f32 * stats, const X* x, const W* weight, const W* bias, u32 width, f32 eps) {        \
        forward(y, stats, x, weight, bias, width, eps);                                           \
    }
#define PARTIAL(X, W)                                                                             \
    KERNEL(THREADS, layer_norm_partial_##X##_##W)                                                 \
    (f32 * partial, const W* dy, const X* x, const f32* stats, u32 rows, u32 width, u32 per_part) { \
        partial_sums(partial, dy, x, stats, rows, width, per_part);                               \
    }
#define RESIDUAL(X, D, W)                                                                         \
    KERNEL(THREADS, layer_norm_residual_##X##_##D##_##W)                                          \
    (X * sum, W * y, f32 * stats, const X* x, const D* delta, const W* weight, const W* bias,     \
     u32 width, f32 eps) {                                                                        \
        residual_forward(sum, y, stats, x, delta, weight, bias, width, eps);                      \
    }
#define DX(X, W, DX)                                                                              \
    KERNEL(THREADS, layer_norm_dx_##X##_##W##_##DX)                                               \
    (DX * dx, f32 beta, const W* dy, const X* x, const W* weight, const f32* stats, u32 width) {  \
        add_dx(dx, beta, dy, x, weight, stats, width);                                            \
    }
#define PARTS(T)                                                                                  \
    KERNEL(THREADS, layer_norm_parts_##T)                                                         \
    (T * sum, f32 beta, const f32* partial, u32 which, u32 parts, u32 width) {                    \
        add_parts(sum, beta, partial, which, parts, width);                                       \
    }

// x and its gradient are f32 or as weight; the gradient of a parameter is f32 whatever its dtype.
FORWARD(f32, f32)
FORWARD(f32, f16)
FORWARD(f32, bf16)
FORWARD(f16, f16)
FORWARD(bf16, bf16)
RESIDUAL(f32, f32, f32)
RESIDUAL(f32, f32, f16)
RESIDUAL(f32, f32, bf16)
RESIDUAL(f32, f16, f16)
RESIDUAL(f32, bf16, bf16)
RESIDUAL(f16, f32, f16)
RESIDUAL(f16, f16, f16)
RESIDUAL(bf16, f32, bf16)
RESIDUAL(bf16, bf16, bf16)
DX(f32, f32, f32)
DX(f32, f16, f32)
DX(f32, bf16, f32)
DX(f16, f16, f16)
DX(f16, f16, f32)
DX(bf16, bf16, bf16)
DX(bf16, bf16, f32)
PARTIAL(f32, f32)
PARTIAL(f32, f16)
PARTIAL(f32, bf16)
PARTIAL(f16, f16)
PARTIAL(bf16, bf16)
PARTS(f32)
PARTS(f16)
PARTS(bf16)
