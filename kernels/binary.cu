// Functions of two numbers under broadcasting: a table of name, f and its partial derivatives.
//
//   y = f(a, b)        through = dy·∂f/∂a  or  dy·∂f/∂b
//
// y, dy and through are (n), the numbers of the output; a and b are read by a walk, in which an
// operand that stretches has stride 0 and comes from the cache. What an operand was stretched to is
// summed by the reduction, in a fixed order. The bytes of a, b and y move once: the speed is the
// memory's.
#include "pointwise.cuh"

template <class F>
__device__ __forceinline__ void forward(
    const Out& y, const In& a, const In& b, const Walk& walk, u64 n) {
    for_parts(walk, n, [&](u64 at, u64 i, u64 j, u32 count) {
        f32 left[PART], right[PART];
        load(left, a, i, count, walk.axes[0].strides[0]);
        load(right, b, j, count, walk.axes[0].strides[1]);
#pragma unroll
        for (u32 k = 0; k < PART; k++) left[k] = F::f(left[k], right[k]);
        store(y, left, at, count);
    });
}

template <class F>
__device__ __forceinline__ void partial(
    const Out& through, const In& dy, const In& a, const In& b, const Walk& walk, u64 n) {
    for_parts(walk, n, [&](u64 at, u64 i, u64 j, u32 count) {
        f32 left[PART], right[PART], grad[PART];
        load(left, a, i, count, walk.axes[0].strides[0]);
        load(right, b, j, count, walk.axes[0].strides[1]);
        load(grad, dy, at, count);
#pragma unroll
        for (u32 k = 0; k < PART; k++) grad[k] *= F::f(left[k], right[k]);
        store(through, grad, at, count);
    });
}

// One row per function: its name and f; ∂f/∂a and ∂f/∂b, where they are not the same everywhere.
#define OF_TWO(name, F)                                                                            \
    struct name {                                                                                  \
        static __device__ __forceinline__ f32 f(f32 a, f32 b) { return F; }                        \
    };
#define LINEAR(name, F)                                                                            \
    OF_TWO(name##_f, F)                                                                            \
    KERNEL(THREADS, binary_##name)(Out y, In a, In b, Walk walk, u64 n) {                          \
        forward<name##_f>(y, a, b, walk, n);                                                       \
    }
#define PARTIAL(name, input, F)                                                                    \
    OF_TWO(name##_d##input, F)                                                                     \
    KERNEL(THREADS, binary_##name##_d##input)(Out through, In dy, In a, In b, Walk walk, u64 n) {  \
        partial<name##_d##input>(through, dy, a, b, walk, n);                                      \
    }
#define FUNCTION(name, F, DA, DB) LINEAR(name, F) PARTIAL(name, a, DA) PARTIAL(name, b, DB)

// The part of a gradient that an operand has, which was chosen, or equal to the other.
__device__ __forceinline__ f32 share(bool chosen, bool equal) {
    return equal ? 0.5f : chosen ? 1.0f : 0.0f;
}

// clang-format off
LINEAR(add,       a + b)
LINEAR(sub,       a - b)
FUNCTION(mul,     a * b,                     b,                     a)
FUNCTION(div,     a / b,                     1.0f / b,              -a / (b * b))
FUNCTION(maximum, a > b || a != a ? a : b,   share(a > b, a == b),  share(a < b, a == b))
FUNCTION(minimum, a < b || a != a ? a : b,   share(a < b, a == b),  share(a > b, a == b))
