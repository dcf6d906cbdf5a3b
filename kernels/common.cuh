// What the kernels share: storage types, their conversions, and sums over a warp and a block.
//
// NVRTC compiles this without any header of CUDA's or of the host's. The emulator compiles the same
// text with g++ (`COPLA_EMULATOR` is defined there); where a primitive has no C++ of its own, it has
// two bodies here. 16-bit types are for storage only: every kernel computes in f32.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

typedef float f32;
struct f16 {
    u16 bits;
};
struct bf16 {
    u16 bits;
};

static constexpr u32 WARP = 32;
static constexpr u32 ALL_LANES = 0xffffffffu;

__device__ __forceinline__ f32 infinity() { return __int_as_float(0x7f800000); }

__device__ __forceinline__ f32 to_f32(f32 x) { return x; }
__device__ __forceinline__ f32 to_f32(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ f32 to_f32(f16 x) {
#ifdef COPLA_EMULATOR
    return emulator::half_to_float(x.bits);
#else
    f32 y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

// To the nearest, ties to even, as the CPU's `half` crate rounds.
template <class T> __device__ __forceinline__ T from_f32(f32 x);
template <> __device__ __forceinline__ f32 from_f32<f32>(f32 x) { return x; }
template <> __device__ __forceinline__ f16 from_f32<f16>(f32 x) {
    f16 y;
#ifdef COPLA_EMULATOR
    y.bits = emulator::float_to_half(x);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
    return y;
}
template <> __device__ __forceinline__ bf16 from_f32<bf16>(f32 x) {
    u32 bits = __float_as_uint(x);
    bf16 y;
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        y.bits = (u16)((bits >> 16) | 0x40);  // a NaN stays one
    else
        y.bits = (u16)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
    return y;
}

// What a 16-bit type would keep of x.
template <class T> __device__ __forceinline__ f32 rounded(f32 x) { return to_f32(from_f32<T>(x)); }

// `N` elements that one instruction moves; the address must be a multiple of their size.
template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

// Every lane gets the same bits: the butterfly adds the same pairs for all.
__device__ __forceinline__ f32 warp_sum(f32 x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
__device__ __forceinline__ f32 warp_max(f32 x) {
#pragma unroll
    for (int step = 16; step > 0; step >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// Sum over a block of whole warps, in a fixed order, given to every thread. `scratch` holds 32
// numbers; it may be used again at once.
__device__ __forceinline__ f32 block_sum(f32 x, f32* scratch) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? scratch[lane] : 0.0f);
}
__device__ __forceinline__ f32 block_max(f32 x, f32* scratch) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return warp_max(lane < warps ? scratch[lane] : -infinity());
}

// The dynamic shared memory of a launch, seen as elements of T.
#ifdef COPLA_EMULATOR
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulator::dynamic_shared())
#else
#define DYNAMIC_SHARED(T, name)                                  \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    T* name = reinterpret_cast<T*>(name##_bytes)
#endif

// A kernel under its own name. `threads`: the most that a block of it will have.
#define KERNEL(threads, name) extern "C" __global__ void __launch_bounds__(threads) name
