// Tensor cores and asynchronous copies, from sm_80 on: each primitive has two bodies.
//
// Fragments lie over the lanes as PTX lays them: with g = lane / 4 and t = lane % 4 a lane of
// m16n8k16 holds of A (row g, columns 2t, 2t+1), (g + 8, same), (g, 2t+8, 2t+9), (g + 8, same); of B
// (rows 2t, 2t+1, column g), (2t+8, 2t+9, g); of the sums (row g, columns 2t, 2t+1), (g + 8, same).
#pragma once
#include "common.cuh"

template <class S> static constexpr bool IS_BF16 = false;
template <> constexpr bool IS_BF16<bf16> = true;

// Whether this compilation has the instructions; kernels that need them are empty without.
#if defined(COPLA_EMULATOR)
#define TENSOR_CORES 1
#else
#define TENSOR_CORES (__CUDA_ARCH__ >= 800)
#endif

#if TENSOR_CORES
// sums (16 × 8) += A (16 × 16) · B (16 × 8), products of 16-bit numbers summed in f32.
template <class S>
__device__ __forceinline__ void mma(f32 (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#ifdef COPLA_EMULATOR
    const u32 b[2] = {b0, b1};
    emulator::emulator_mma_16x8x16(sums, a, b, IS_BF16<S>, emulator::Site::here());
#else
    if constexpr (IS_BF16<S>)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// Four 8 × 8 matrices of 16-bit numbers from shared memory, each lane one 32-bit piece of each. Lane l
// gives the address of row l % 8 of matrix l / 8, a multiple of 16 bytes.
template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(u32 (&fragment)[4], const void* row) {
#ifdef COPLA_EMULATOR
    emulator::emulator_load_matrices(fragment, row, 4, TRANSPOSED, emulator::Site::here());
#else
    const u32 at = (u32)__cvta_generic_to_shared(row);
    if constexpr (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(at));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(at));
#endif
}

// Begins to copy 16 bytes to shared memory; zeros where `there` is false, and nothing is read then.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
#ifdef COPLA_EMULATOR
    emulator::emulator_copy_async(to, from, 16, there ? 16 : 0, emulator::Site::here());
#else
    const u32 at = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
#endif
}
// Waits for all copies that this thread began; a barrier shows them to the others.
__device__ __forceinline__ void copy_async_wait() {
#ifdef COPLA_EMULATOR
    emulator::emulator_copy_async_commit();
    emulator::emulator_copy_async_wait(0);
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Two numbers rounded and packed, `low` first in memory.
template <class S> __device__ __forceinline__ u32 packed(f32 low, f32 high) {
#ifdef COPLA_EMULATOR
    return (u32)from_f32<S>(low).bits | (u32)from_f32<S>(high).bits << 16;
#else
    u32 both;
    if constexpr (IS_BF16<S>)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#endif
}

// 2^x to 2 ulp in one instruction; results below the normal numbers are 0.
__device__ __forceinline__ f32 exp2_fast(f32 x) {
#ifdef COPLA_EMULATOR
    return exp2f(x);
#else
    f32 y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}
#endif
