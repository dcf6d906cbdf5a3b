// CUDA C++ as g++ reads it: force-included before a kernel file, whose text stays untouched.
//
// Qualifiers become nothing or `static`, the built-in variables are set by the scheduler whenever
// it switches threads, and whatever threads do together is a call into the emulated driver
// (block.cpp, warp.cpp). No header of the host is included: what NVRTC does not offer is missing
// here too, and a kernel file compiles in a fraction of a second.
#pragma once
#define COPLA_EMULATOR 1

// Kernels are found in the preprocessed text by these two marks (nvrtc.cpp); g++ ignores both.
#define __global__ __attribute__((emulator_kernel))
#define __launch_bounds__(threads, ...) __attribute__((emulator_threads(threads)))

#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // one block runs at a time, so one copy is enough
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))

// ---- built-in types and variables ------------------------------------------------------------

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};

// Constant to the thread that reads them; the driver writes them between two threads. `const` also
// spares them the checker's attention.
extern const uint3 threadIdx asm("emulator_thread_index");
extern const uint3 blockIdx asm("emulator_block_index");
extern const dim3 blockDim asm("emulator_block_size");
extern const dim3 gridDim asm("emulator_grid_size");
static constexpr int warpSize = 32;

// ---- the driver's part -----------------------------------------------------------------------

namespace emulator {

// A place in the kernel's source, for messages.
struct Site {
    const char* file;
    int line;
    // As a default argument: the place of the call.
    static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return {file, line};
    }
};

typedef void (*Invoke)(void** arguments);

extern "C" {
// What every barrier returns: how many threads came with a predicate that is not 0.
int emulator_barrier(int predicate, Site at);
int emulator_block_threads();
void emulator_sync_warp(unsigned mask, Site at);
unsigned long long emulator_shuffle(unsigned mask, unsigned long long value, int lane, Site at);
unsigned emulator_ballot(unsigned mask, int predicate, unsigned* voters, Site at);
unsigned emulator_active_mask();
unsigned emulator_lane();
void emulator_atomic(const void* address, unsigned bytes, Site at);
void* emulator_dynamic_shared();
void emulator_trap(Site at);

// cp.async, ldmatrix and mma.sync, for the C++ bodies of kernels/tc.cuh. Fragments are laid out
// over the lanes as PTX defines them.
void emulator_copy_async(void* to, const void* from, int bytes, int taken, Site at);
void emulator_copy_async_commit();
void emulator_copy_async_wait(int groups_left);
void emulator_load_matrices(unsigned* fragment, const void* row, int count, int transposed,
                            Site at);
void emulator_mma_16x8x16(float* sums, const unsigned* a, const unsigned* b, int is_bf16, Site at);

void emulator_register(const char* name, Invoke invoke, const unsigned* sizes, int count,
                       int most_threads, int checked);
}

static inline void* dynamic_shared() { return emulator_dynamic_shared(); }

// To the nearest, ties to even, by the F16C instructions.
static inline float half_to_float(unsigned short bits) {
    _Float16 half;
    __builtin_memcpy(&half, &bits, sizeof half);
    return static_cast<float>(half);
}
static inline unsigned short float_to_half(float x) {
    _Float16 half = static_cast<_Float16>(x);
    unsigned short bits;
    __builtin_memcpy(&bits, &half, sizeof bits);
    return bits;
}

// A kernel as cuLaunchKernel calls it: with an array of pointers to its arguments.
template <int... I> struct Indices {};
template <auto kernel, class Function = decltype(kernel)> struct Entry;
template <auto kernel, class... A> struct Entry<kernel, void (*)(A...)> {
    template <int... I>
    __attribute__((no_sanitize("thread", "undefined"))) static void call(void** arguments,
                                                                         Indices<I...>) {
        kernel(*static_cast<A*>(arguments[I])...);
    }
    static void invoke(void** arguments) {
        call(arguments, Indices<__integer_pack(sizeof...(A))...>{});
    }
    static constexpr unsigned sizes[] = {static_cast<unsigned>(sizeof(A))..., 0};
    static constexpr int count = sizeof...(A);
};

// nvrtc.cpp appends one of these for each kernel of a file.
template <auto kernel> struct Registration {
    Registration(const char* name, int most_threads) {
#ifdef __SANITIZE_THREAD__
        const int checked = 1;
#else
        const int checked = 0;
#endif
        using Kernel = Entry<kernel>;
        emulator_register(name, Kernel::invoke, Kernel::sizes, Kernel::count, most_threads,
                          checked);
    }
};

}  // namespace emulator

#include "intrinsics.h"
