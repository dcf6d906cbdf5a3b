// CUDA's built-in functions: barriers, warp collectives, atomics and mathematics.
//
// The `at` that ends many lists of arguments is filled in by the compiler with the place of the
// call; kernels do not pass it.
#pragma once

#define EMULATOR_AT ::emulator::Site at = ::emulator::Site::here()

// ---- barriers --------------------------------------------------------------------------------

static inline void __syncthreads(EMULATOR_AT) { emulator::emulator_barrier(0, at); }
static inline int __syncthreads_count(int predicate, EMULATOR_AT) {
    return emulator::emulator_barrier(predicate, at);
}
static inline int __syncthreads_or(int predicate, EMULATOR_AT) {
    return emulator::emulator_barrier(predicate, at) > 0;
}
static inline int __syncthreads_and(int predicate, EMULATOR_AT) {
    return emulator::emulator_barrier(predicate, at) == emulator::emulator_block_threads();
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_AT) {
    emulator::emulator_sync_warp(mask, at);
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---- warp collectives ------------------------------------------------------------------------

namespace emulator {
template <class T> static inline T shuffle(unsigned mask, T value, int lane, Site at) {
    static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = emulator_shuffle(mask, bits, lane, at);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}
// The first lane of the calling lane's segment of `width` lanes.
static inline int segment(int width) { return static_cast<int>(emulator_lane()) & ~(width - 1); }
}  // namespace emulator

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMULATOR_AT) {
    const int lane = emulator::segment(width) | (source & (width - 1));
    return emulator::shuffle(mask, value, lane, at);
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATOR_AT) {
    const int own = static_cast<int>(emulator::emulator_lane()), lane = own ^ bits;
    const bool inside = lane < emulator::segment(width) + width;
    return emulator::shuffle(mask, value, inside ? lane : own, at);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_AT) {
    const int own = static_cast<int>(emulator::emulator_lane()), lane = own + static_cast<int>(by);
    const bool inside = lane < emulator::segment(width) + width;
    return emulator::shuffle(mask, value, inside ? lane : own, at);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_AT) {
    const int own = static_cast<int>(emulator::emulator_lane()), lane = own - static_cast<int>(by);
    const bool inside = lane >= emulator::segment(width);
    return emulator::shuffle(mask, value, inside ? lane : own, at);
}

static inline unsigned __activemask() { return emulator::emulator_active_mask(); }
static inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_AT) {
    unsigned voters;
    return emulator::emulator_ballot(mask, predicate, &voters, at);
}
static inline int __any_sync(unsigned mask, int predicate, EMULATOR_AT) {
    unsigned voters;
    return emulator::emulator_ballot(mask, predicate, &voters, at) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, EMULATOR_AT) {
    unsigned voters;
    return emulator::emulator_ballot(mask, predicate, &voters, at) == voters;
}

// ---- atomics ---------------------------------------------------------------------------------

// One thread runs at a time, so a plain read and write is atomic; the checker is told what it is.
#define EMULATOR_ATOMIC(name, result)                                                   \
    template <class T>                                                                  \
    __attribute__((no_sanitize("thread"), noinline)) static T name(T* address, T value, \
                                                                   EMULATOR_AT) {       \
        emulator::emulator_atomic(address, sizeof(T), at);                              \
        const T old = *address;                                                         \
        *address = result;                                                              \
        return old;                                                                     \
    }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicExch, value)
EMULATOR_ATOMIC(atomicMax, old > value ? old : value)
EMULATOR_ATOMIC(atomicMin, old < value ? old : value)
EMULATOR_ATOMIC(atomicAnd, old& value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
#undef EMULATOR_ATOMIC

template <class T>
__attribute__((no_sanitize("thread"), noinline)) static T atomicCAS(T* address, T expected, T value,
                                                                    EMULATOR_AT) {
    emulator::emulator_atomic(address, sizeof(T), at);
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}

// ---- mathematics -----------------------------------------------------------------------------

extern "C" {
float expf(float), exp2f(float), expm1f(float), logf(float), log2f(float), log1pf(float);
float sinf(float), cosf(float), tanhf(float), erff(float), powf(float, float);
float floorf(float), ceilf(float), truncf(float), rintf(float), fmodf(float, float);
float sqrtf(float), fabsf(float), fmaf(float, float, float), ldexpf(float, int);
float fmaxf(float, float), fminf(float, float), copysignf(float, float);
double exp(double), log(double), sqrt(double), fabs(double), tanh(double), pow(double, double);
}

// The approximations are exact here; a kernel that needs their error does not exist.
static inline float __expf(float x) { return expf(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }

static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }

#define EMULATOR_EXTREMES(T, greater, less)           \
    static inline T max(T x, T y) { return greater; } \
    static inline T min(T x, T y) { return less; }
EMULATOR_EXTREMES(float, fmaxf(x, y), fminf(x, y))
EMULATOR_EXTREMES(int, x > y ? x : y, x < y ? x : y)
EMULATOR_EXTREMES(unsigned, x > y ? x : y, x < y ? x : y)
EMULATOR_EXTREMES(long, x > y ? x : y, x < y ? x : y)
EMULATOR_EXTREMES(unsigned long, x > y ? x : y, x < y ? x : y)
EMULATOR_EXTREMES(long long, x > y ? x : y, x < y ? x : y)
EMULATOR_EXTREMES(unsigned long long, x > y ? x : y, x < y ? x : y)
#undef EMULATOR_EXTREMES

// ---- bits and memory -------------------------------------------------------------------------

namespace emulator {
template <class To, class From> static inline To bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same bits");
    To y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}
}  // namespace emulator

static inline int __float_as_int(float x) { return emulator::bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return emulator::bits<unsigned>(x); }
static inline float __int_as_float(int x) { return emulator::bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return emulator::bits<float>(x); }
static inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
static inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline unsigned __umulhi(unsigned x, unsigned y) {
    return static_cast<unsigned>((static_cast<unsigned long long>(x) * y) >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(x) * y) >> 64);
}

// Hints to a cache are plain reads and writes.
template <class T> static inline T __ldg(const T* address) { return *address; }
template <class T> static inline T __ldcs(const T* address) { return *address; }
template <class T> static inline T __ldcg(const T* address) { return *address; }
template <class T> static inline void __stcs(T* address, T value) { *address = value; }
template <class T> static inline void __stcg(T* address, T value) { *address = value; }

static inline void __trap(EMULATOR_AT) { emulator::emulator_trap(at); }
