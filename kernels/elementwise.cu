// Functions of one number, applied to each: a table of name, f and its derivative.
//
//   y = f(x)        dx = beta·dx + dy·f'(x)
//
// All arrays are (n). Forward reads x and writes y; backward reads x and dy, writes dx, and reads it
// where beta is not 0. Each byte moves once, in loads of sixteen, and what is computed hides behind
// them: the speed is the memory's.
#include "pointwise.cuh"

template <class F>
__device__ __forceinline__ void forward(const Out& y, const In& x, f32 c, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        f32 values[PART];
        load(values, x, at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) values[i] = F::f(values[i], c);
        store(y, values, at, count);
    });
}

template <class F>
__device__ __forceinline__ void add_dx(
    const Out& dx, f32 beta, const In& dy, const In& x, f32 c, u64 n) {
    for_parts(n, [&](u64 at, u32 count) {
        f32 values[PART], through[PART];
        load(values, x, at, count);
        load(through, dy, at, count);
#pragma unroll
        for (u32 i = 0; i < PART; i++) through[i] *= F::df(values[i], c);
        add_to(dx, beta, through, at, count);
    });
}

// One row per function of x and, where it has one, the constant c: its name and f; and df, where the
// backward needs a kernel.
#define LINEAR(name, F)                                                                            \
    struct name##_f {                                                                              \
        static __device__ __forceinline__ f32 f(f32 x, f32 c) { return F; }                        \
    };                                                                                             \
    KERNEL(THREADS, elementwise_##name)(Out y, In x, f32 c, u64 n) {                               \
        forward<name##_f>(y, x, c, n);                                                             \
    }
#define FUNCTION(name, F, DF)                                                                      \
    LINEAR(name, F)                                                                                \
    struct name##_df {                                                                             \
        static __device__ __forceinline__ f32 df(f32 x, f32 c) { return DF; }                      \
    };                                                                                             \
    KERNEL(THREADS, elementwise_##name##_dx)(Out dx, f32 beta, In dy, In x, f32 c, u64 n) {        \
        add_dx<name##_df>(dx, beta, dy, x, c, n);                                                  \
    }

// x held to at most `limit` in magnitude; NaN stays.
__device__ __forceinline__ f32 hold(f32 x, f32 limit) {
    return x > limit ? limit : x < -limit ? -limit : x;
}
__device__ __forceinline__ f32 logistic(f32 x) { return 1.0f / (1.0f + expf(-x)); }

// GELU by its tanh form is x·σ(slope·(x + cubic·x³)) with slope = 2√(2/π).
static constexpr f32 GELU_SLOPE = 1.5957691216057308f, GELU_CUBIC = 0.044715f;
__device__ __forceinline__ f32 gelu_tanh(f32 x) {
    return x * logistic(GELU_SLOPE * (x + GELU_CUBIC * x * x * x));
}
__device__ __forceinline__ f32 gelu_tanh_grad(f32 x) {
    // Beyond 12 the slope is 0 or 1 to the last bit, and x³ cannot overflow.
    x = hold(x, 12.0f);
    const f32 square = x * x, s = logistic(GELU_SLOPE * x * (1.0f + GELU_CUBIC * square));
    return s + x * s * (1.0f - s) * GELU_SLOPE * (1.0f + 3.0f * GELU_CUBIC * square);
}

// The normal distribution Φ, and x·φ(x) with its density φ, which is 0 beyond 15.
static constexpr f32 SQRT_HALF = 0.70710678118654752f, TWO_OVER_SQRT_PI = 1.1283791670955126f;
__device__ __forceinline__ f32 normal(f32 x) { return 0.5f * (1.0f + erff(x * SQRT_HALF)); }
__device__ __forceinline__ f32 times_density(f32 x) {
    x = hold(x, 15.0f);
    return x * (0.5f * TWO_OVER_SQRT_PI * SQRT_HALF * expf(-0.5f * x * x));
}

// clang-format off
FUNCTION(abs,        fabsf(x),                    x == 0.0f ? 0.0f : copysignf(1.0f, x))
FUNCTION(exp,        expf(x),                     expf(x))
FUNCTION(ln,         logf(x),                     1.0f / x)
FUNCTION(sqrt,       sqrtf(x),                    0.5f / sqrtf(x))
FUNCTION(rsqrt,      1.0f / sqrtf(x),             -0.5f / (x * sqrtf(x)))
FUNCTION(recip,      1.0f / x,                    -1.0f / (x * x))
FUNCTION(square,     x * x,                       2.0f * x)
FUNCTION(sin,        sinf(x),                     cosf(x))
FUNCTION(cos,        cosf(x),                     -sinf(x))
FUNCTION(tanh,       tanhf(x),                    (1.0f - tanhf(x)) * (1.0f + tanhf(x)))
FUNCTION(sigmoid,    logistic(x),                 logistic(x) * logistic(-x))
FUNCTION(relu,       x < 0.0f ? 0.0f : x,         x > 0.0f ? 1.0f : 0.0f)
FUNCTION(silu,       x * logistic(x),             logistic(x) * (1.0f + x * logistic(-x)))
FUNCTION(erf,        erff(x),                     TWO_OVER_SQRT_PI * expf(-x * x))
FUNCTION(gelu,       gelu_tanh(x),                gelu_tanh_grad(x))
FUNCTION(gelu_erf,   x * normal(x),               normal(x) + times_density(x))
// x⁰ is constant also where x⁻¹ is infinite.
FUNCTION(pow_scalar, powf(x, c),                  c == 0.0f ? 0.0f : c * powf(x, c - 1.0f))
LINEAR(add_scalar,   x + c)
LINEAR(mul_scalar,   x * c)
