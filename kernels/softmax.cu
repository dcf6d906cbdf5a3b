// Softmax of rows and its logarithm, and their gradients (`src/ops/softmax`).
//
//   x, y, dy, dx  (rows, width)
//
// Bytes: forward reads x twice and writes y; backward reads dy and y twice and writes dx; the second
// reading comes from the cache unless the rows in flight are larger than it. Fast because the largest
// number and the sum are found in one pass: a thread scales its sum when it meets a larger number
// (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). A block for each row.
#include "common.cuh"

static constexpr u32 THREADS = 1024;

template <class T, bool LOG> __device__ void forward(T* y, const T* x, u32 width) {
    __shared__ f32 scratch[WARP];
    x += (u64)blockIdx.x * width, y += (u64)blockIdx.x * width;
    // Not −∞: the difference of two infinities is no number.
    f32 largest = -3.402823466e38f, sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        const f32 at = to_f32(x[i]);
        if (at > largest) {
            sum *= expf(largest - at);
            largest = at;
        }
        sum += expf(at - largest);
    }
    const f32 of_row = block_max(largest, scratch);
    sum = block_sum(sum * expf(largest - of_row), scratch);
    const f32 scale = 1.0f / sum, log_sum = logf(sum);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        const f32 at = to_f32(x[i]) - of_row;
        y[i] = from_f32<T>(LOG ? at - log_sum : expf(at) * scale);
    }
}

// dx = beta·dx + y·(dy − Σ dy·y), or for the logarithm dy − eʸ·Σ dy.
template <class T, class DX, bool LOG>
__device__ void add_dx(DX* dx, f32 beta, const T* dy, const T* y, u32 width) {
    __shared__ f32 scratch[WARP];
    const u64 at = (u64)blockIdx.x * width;
    dx += at, dy += at, y += at;
    f32 sum = 0.0f;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x)
        sum += LOG ? to_f32(dy[i]) : to_f32(dy[i]) * to_f32(y[i]);
    sum = block_sum(sum, scratch);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        const f32 g = to_f32(dy[i]), probability = LOG ? expf(to_f32(y[i])) : to_f32(y[i]);
        const f32 through = LOG ? g - probability * sum : probability * (g - sum);
        dx[i] = from_f32<DX>(beta == 0.0f ? through : beta * to_f32(dx[i]) + through);
    }
}

#define FORWARD(name, log, T)                                  \
    KERNEL(THREADS, name##_forward_##T)                        \
    (T * y, const T* x, u32 width) { forward<T, log>(y, x, width); }
#define DX(name, log, T, DX)                                   \
    KERNEL(THREADS, name##_dx_##T##_##DX)                      \
    (DX * dx, f32 beta, const T* dy, const T* y, u32 width) {  \
        add_dx<T, DX, log>(dx, beta, dy, y, width);            \
    }
// The gradient of a parameter is f32 whatever its dtype.
#define FORM(name, log)        \
    FORWARD(name, log, f32)    \
    FORWARD(name, log, f16)    \
    FORWARD(name, log, bf16)   \
    DX(name, log, f32, f32)    \
    DX(name, log, f16, f16)    \
    DX(name, log, f16, f32)    \
    DX(name, log, bf16, bf16)  \
    DX(name, log, bf16, f32)

FORM(softmax, false)
FORM(softmax_log, true)
