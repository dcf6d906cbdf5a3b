// AdamW over the whole trainable range in one launch (`src/ops/adamw`).
//
//   values  (n): f32, f16 or bf16      master, m, v, grads  (n)      norm  (): of grads
//   factors: the numbers of this step  n, decay_end: multiples of 4, as the arena pads
//
// Bytes: 28 an element where the values are f32 (four streams read, three written), 30 with a 16-bit
// copy beside the f32 master; as fast as memory. What changes from step to step, and the norm, are read
// from memory: the host neither waits for the norm nor decides about it, and a captured launch can be
// played again.
#include "common.cuh"

struct Rule {
    f32 beta1, beta2, eps;
};
struct Factors {
    f32 rate, root, keep, max_grad_norm, loss_scale;
};

template <class T>
__device__ __forceinline__ void step(
    T* values, f32* master, f32* m, f32* v, const f32* grads, const f32* norm,
    const Factors* factors, const Rule& rule, u64 decay_end, u64 n) {
    // Scaled gradients that overflowed, or NaN, for which no comparison holds: no step.
    if (!(*norm < infinity())) return;
    const Factors at = *factors;
    const f32 true_norm = *norm / at.loss_scale;
    const f32 clip = at.max_grad_norm > 0.0f ? fminf(at.max_grad_norm / (true_norm + 1e-6f), 1.0f) : 1.0f;
    const f32 grad_scale = clip / at.loss_scale;
    const u64 stride = (u64)gridDim.x * blockDim.x * 4;
    for (u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4; i < n; i += stride) {
        using Four = Pack<f32, 4>;
        Four x = *reinterpret_cast<const Four*>(master + i);
        Four mean = *reinterpret_cast<const Four*>(m + i);
        Four square = *reinterpret_cast<const Four*>(v + i);
        const Four grad = *reinterpret_cast<const Four*>(grads + i);
        const f32 keep = i < decay_end ? at.keep : 1.0f;
        Pack<T, 4> stored;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const f32 g = grad.at[k] * grad_scale;
            mean.at[k] = rule.beta1 * mean.at[k] + (1.0f - rule.beta1) * g;
            square.at[k] = rule.beta2 * square.at[k] + (1.0f - rule.beta2) * g * g;
            x.at[k] = x.at[k] * keep - at.rate * mean.at[k] / (sqrtf(square.at[k]) / at.root + rule.eps);
            stored.at[k] = from_f32<T>(x.at[k]);
        }
        *reinterpret_cast<Four*>(master + i) = x;
        *reinterpret_cast<Four*>(m + i) = mean;
        *reinterpret_cast<Four*>(v + i) = square;
        // Where the values are f32, they are the master.
        if (sizeof(T) != sizeof(f32)) *reinterpret_cast<Pack<T, 4>*>(values + i) = stored;
    }
}

#define ADAMW(T)                                                                                     \
    KERNEL(256, adamw_step_##T)(                                                                     \
        T* values, f32* master, f32* m, f32* v, const f32* grads, const f32* norm,                   \
        const Factors* factors, Rule rule, u64 decay_end, u64 n) {                                   \
        step(values, master, m, v, grads, norm, factors, rule, decay_end, n);                        \
    }
ADAMW(f32)
ADAMW(f16)
ADAMW(bf16)

// master = values as f32, for one parameter of n elements.
template <class T> __device__ __forceinline__ void widen(f32* master, const T* values, u64 n) {
    const u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        master[i] = to_f32(values[i]);
}
KERNEL(256, adamw_widen_f16)(f32* master, const f16* values, u64 n) { widen(master, values, n); }
KERNEL(256, adamw_widen_bf16)(f32* master, const bf16* values, u64 n) { widen(master, values, n); }
