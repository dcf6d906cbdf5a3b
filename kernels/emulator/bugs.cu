// Kernels that are wrong on purpose: the emulator must report each, and none of those at the end,
// which are right.
//
// All are launched with y (256 elements that are 0) and n = 128, in one block of 128 threads with
// 512 bytes of dynamic shared memory, unless the comment says otherwise.
#include "common.cuh"

static constexpr u32 THREADS = 128;

// ---- races in shared memory ------------------------------------------------------------------

KERNEL(THREADS, bug_no_barrier)(f32* y, u32 n) {
    __shared__ f32 turned[THREADS];
    turned[threadIdx.x] = 1.0f;
    y[threadIdx.x] = turned[THREADS - 1 - threadIdx.x];
}

// The second round writes what others may still read.
KERNEL(THREADS, bug_one_barrier_in_a_loop)(f32* y, u32 n) {
    __shared__ f32 turned[THREADS];
    for (u32 round = 0; round < 3; round++) {
        turned[threadIdx.x] = (f32)round;
        __syncthreads();
        y[threadIdx.x] = turned[THREADS - 1 - threadIdx.x];
    }
}

// 32 threads. Lanes of a warp are not synchronous, on Volta and later.
KERNEL(WARP, bug_no_syncwarp)(f32* y, u32 n) {
    __shared__ f32 turned[WARP];
    turned[threadIdx.x] = 1.0f;
    y[threadIdx.x] = turned[threadIdx.x ^ 1];
}

// 32 threads. A shuffle brings lanes together but does not order their memory.
KERNEL(WARP, bug_shuffle_for_syncwarp)(f32* y, u32 n) {
    __shared__ f32 turned[WARP];
    turned[threadIdx.x] = 1.0f;
    const f32 sum = warp_sum(1.0f);
    y[threadIdx.x] = sum + turned[threadIdx.x ^ 1];
}

// __syncwarp says nothing about other warps.
KERNEL(THREADS, bug_syncwarp_for_barrier)(f32* y, u32 n) {
    __shared__ f32 turned[THREADS];
    turned[threadIdx.x] = 1.0f;
    __syncwarp();
    y[threadIdx.x] = turned[THREADS - 1 - threadIdx.x];
}

// ---- races in global memory ------------------------------------------------------------------

// Two blocks.
KERNEL(THREADS, bug_two_blocks_write)(f32* y, u32 n) { y[threadIdx.x] = (f32)blockIdx.x; }

// Two blocks: one reads what the other writes.
KERNEL(THREADS, bug_block_reads_neighbour)(f32* y, u32 n) {
    const u32 i = blockIdx.x * THREADS + threadIdx.x;
    y[i] = y[(i + THREADS) % (2 * THREADS)];
}

KERNEL(THREADS, bug_sum_without_atomic)(f32* y, u32 n) { y[0] += 1.0f; }

KERNEL(THREADS, bug_atomic_and_plain_read)(u32* y, u32 n) {
    atomicAdd(&y[0], 1u);
    y[1 + threadIdx.x] = y[0];
}

// ---- divergence ------------------------------------------------------------------------------

KERNEL(THREADS, bug_two_barriers_in_branches)(f32* y, u32 n) {
    if (threadIdx.x < 64) {
        y[threadIdx.x] = 1.0f;
        __syncthreads();
    } else {
        __syncthreads();
    }
}

KERNEL(THREADS, bug_barrier_after_exit)(f32* y, u32 n) {
    if (threadIdx.x >= 64) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

KERNEL(THREADS, bug_shuffle_in_branch)(f32* y, u32 n) {
    f32 x = (f32)threadIdx.x;
    if (threadIdx.x & 1) x = __shfl_xor_sync(ALL_LANES, x, 1);
    y[threadIdx.x] = x;
}

KERNEL(THREADS, bug_shuffle_outside_mask)(f32* y, u32 n) {
    f32 x = (f32)threadIdx.x;
    if (threadIdx.x % WARP < 16) x = __shfl_sync(0xffffu, x, 20);
    y[threadIdx.x] = x;
}

// 32 threads.
KERNEL(WARP, bug_shuffle_after_exit)(f32* y, u32 n) {
    if (threadIdx.x >= 16) return;
    y[threadIdx.x] = __shfl_xor_sync(ALL_LANES, 1.0f, 16);
}

// ---- bounds, alignment, what was never written -------------------------------------------------

KERNEL(THREADS, bug_beyond_global)(f32* y, u32 n) { y[n + 1 + threadIdx.x] = 0.0f; }

KERNEL(THREADS, bug_beyond_shared_array)(f32* y, u32 n) {
    __shared__ f32 first[THREADS];
    __shared__ f32 second[THREADS];
    first[threadIdx.x] = 1.0f;
    second[threadIdx.x] = 2.0f;
    __syncthreads();
    y[threadIdx.x] = first[threadIdx.x + 1];
}

// As before, where no array's type shows its size.
KERNEL(THREADS, bug_beyond_shared_pointer)(f32* y, u32 n) {
    __shared__ f32 first[THREADS];
    f32* all = first;
    all[threadIdx.x] = 1.0f;
    __syncthreads();
    if (threadIdx.x > 0) y[threadIdx.x] = all[threadIdx.x - 1 + n / THREADS * 2];
}

KERNEL(THREADS, bug_beyond_dynamic_shared)(f32* y, u32 n) {
    DYNAMIC_SHARED(f32, all);
    all[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = all[threadIdx.x + 1];
}

KERNEL(THREADS, bug_unwritten_shared)(f32* y, u32 n) {
    __shared__ f32 part[THREADS];
    if (threadIdx.x < 100) part[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = part[threadIdx.x];
}

// Two blocks: shared memory does not outlive its block.
KERNEL(THREADS, bug_shared_of_the_block_before)(f32* y, u32 n) {
    __shared__ f32 part[THREADS];
    if (blockIdx.x == 0) part[threadIdx.x] = 1.0f;
    else y[threadIdx.x] = part[threadIdx.x];
}

// y as the allocator gave it, without zeros.
KERNEL(THREADS, bug_unwritten_global)(f32* y, u32 n) { y[threadIdx.x] = y[threadIdx.x] + 1.0f; }

KERNEL(THREADS, bug_misaligned_pack)(f32* y, u32 n) {
    if (threadIdx.x < 32) reinterpret_cast<Pack<f32, 4>*>(y + 1)[threadIdx.x] = {};
}

KERNEL(THREADS, bug_null)(f32* y, u32 n) {
    const f32* nothing = reinterpret_cast<const f32*>((u64)(n - THREADS));
    y[threadIdx.x] = nothing[threadIdx.x];
}

// ---- right ones --------------------------------------------------------------------------------

KERNEL(THREADS, ok_sums)(f32* y, u32 n) {
    __shared__ f32 scratch[WARP];
    const f32 once = block_sum(1.0f, scratch);
    y[threadIdx.x] = once + block_sum((f32)threadIdx.x, scratch);
}

KERNEL(THREADS, ok_syncwarp)(f32* y, u32 n) {
    __shared__ f32 turned[THREADS];
    turned[threadIdx.x] = 1.0f;
    __syncwarp();
    y[threadIdx.x] = turned[threadIdx.x ^ 1];
}

// Two blocks.
KERNEL(THREADS, ok_atomic)(u32* y, u32 n) { atomicAdd(&y[0], 1u); }
