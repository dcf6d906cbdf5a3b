// Accumulate: sum = beta * sum + grad, for gradients that meet at one tensor.
//
// sum and grad are (n); with beta 0 the sum is not read. Moves at most 3 numbers per element and does
// next to nothing with them: as fast as memory.
#include "common.cuh"

template <class S, class G> __device__ void accumulate(S* sum, const G* grad, f32 beta, u64 n) {
    const u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const f32 old = beta == 0.0f ? 0.0f : beta * to_f32(sum[i]);
        sum[i] = from_f32<S>(old + to_f32(grad[i]));
    }
}

#define ACCUMULATE(S, G)                                                                      \
    KERNEL(256, accumulate_##S##_##G)(S * sum, const G* grad, f32 beta, u64 n) {               \
        accumulate(sum, grad, beta, n);                                                       \
    }

ACCUMULATE(f32, f32)
ACCUMULATE(f32, f16)
ACCUMULATE(f32, bf16)
ACCUMULATE(f16, f16)
ACCUMULATE(f16, f32)
ACCUMULATE(bf16, bf16)
ACCUMULATE(bf16, f32)
